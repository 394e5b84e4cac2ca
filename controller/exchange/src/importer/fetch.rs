//! One bounded GET: the client limits the time, this module the bytes.

use super::{FetchFailure, failure::Refused};
use crate::prefer::{self, PREFER, PREFERENCE_APPLIED};
use fedgate_federation::header;
use fedgate_federation::knowledge::{ClockReading, Delivery};
use fedgate_federation::signature::{SIGNATURE_HEADER, SignatureError, Signatures};
use fedgate_process::clock::Clock;
use fedgate_trace::{Received, TRACEPARENT};
use jiff::Timestamp;
use reqwest::{
    Client, Response, StatusCode,
    header::{
        AGE, CONTENT_ENCODING, DATE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
    },
};
use std::time::Duration;

/// How many bytes to read of a body that explains why there is no document.
const EXPLANATION: usize = 2048;

/// What to fetch.
pub(super) struct Get<'a> {
    pub(super) url: String,
    /// The token, for a document that needs one.
    pub(super) bearer: Option<&'a str>,
    /// The entity tag of the known document.
    pub(super) known: Option<&'a str>,
    /// The size limit of the body in bytes.
    pub(super) limit: usize,
    /// How long the server may wait for a change before it answers; zero asks only whether it can.
    /// `None` for a document that nobody waits for.
    pub(super) wait: Option<Duration>,
    /// Whether to note when the answer came, for traces.
    pub(super) traced: bool,
}

/// A successful answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The document, and what came with it.
    Fresh { body: Vec<u8>, delivery: Delivery },
    /// The known document is still current.
    NotModified(Delivery),
}

impl Answer {
    /// The entity tag of the document.
    pub(super) fn etag(&self) -> Option<&str> {
        let (Self::Fresh { delivery, .. } | Self::NotModified(delivery)) = self;
        delivery.etag.as_deref()
    }
}

/// The outcome, and what the answer reveals about the server's clock.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) answer: Result<Answer, FetchFailure>,
    pub(super) clock: Option<ClockReading>,
    /// True if the server can wait for a change.
    pub(super) waits: bool,
    /// When the answer came, if that is noted.
    pub(super) received: Option<Received>,
}

/// The largest document after which a connection stays open. A connection that has carried a larger
/// one keeps large buffers for as long as it lives.
const MOST_TO_GO_ON: usize = 16 << 10;

impl Fetched {
    /// Returns true if the connection may be used to wait for the next change.
    pub(super) fn can_go_on(&self) -> bool {
        let small = match &self.answer {
            Ok(Answer::Fresh { body, .. }) => body.len() <= MOST_TO_GO_ON,
            Ok(Answer::NotModified(_)) => true,
            Err(_) => false,
        };
        small && self.waits
    }
}

pub(super) async fn get(client: &Client, get: Get<'_>, clock: &dyn Clock) -> Fetched {
    let sent = clock.now();
    match send(client, &get, None).await {
        Err(failure) => Fetched { answer: Err(failure), clock: None, waits: false, received: None },
        Ok(response) => Fetched {
            clock: date(&response).map(|theirs| ClockReading::of_answer(theirs, sent, clock.now())),
            waits: waits(&response),
            received: received(&response, &get),
            answer: answer(response, &get).await,
        },
    }
}

/// Returns true if the server has applied the preference.
pub(super) fn waits(response: &Response) -> bool {
    prefer::wait(response.headers().get_all(PREFERENCE_APPLIED)).is_some()
}

/// Notes that the answer has come, and what the server says about its trace.
pub(super) fn received(response: &Response, get: &Get<'_>) -> Option<Received> {
    let traceparent = || response.headers().get(TRACEPARENT).map(HeaderValue::as_bytes);
    get.traced.then(|| Received::now(traceparent()))
}

/// Sends the request, and waits for the head of the answer. `timeout` replaces the client's time
/// limit.
pub(super) async fn send(
    client: &Client,
    get: &Get<'_>,
    timeout: Option<Duration>,
) -> Result<Response, FetchFailure> {
    let mut request = client.get(&get.url);
    if let Some(token) = get.bearer {
        request = request.bearer_auth(token);
    }
    if let Some(etag) = known_tag(get) {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(wait) = get.wait {
        request = request.header(PREFER, prefer::waiting(wait));
    }
    if let Some(timeout) = timeout {
        request = request.timeout(timeout);
    }
    Ok(request.send().await?)
}

fn known_tag(get: &Get<'_>) -> Option<HeaderValue> {
    get.known.and_then(|etag| HeaderValue::from_str(etag).ok())
}

/// Reads the rest of the answer.
pub(super) async fn answer(response: Response, get: &Get<'_>) -> Result<Answer, FetchFailure> {
    match response.status() {
        StatusCode::OK => {
            let delivery = delivery(&response);
            Ok(Answer::Fresh { body: body(response, get.limit).await?, delivery })
        }
        StatusCode::NOT_MODIFIED if known_tag(get).is_some() => {
            Ok(Answer::NotModified(delivery(&response)))
        }
        _ => Err(FetchFailure::Status(refused(response, get.bearer).await)),
    }
}

/// Reads from an answer why there is no document. A server may echo the request, so the token is
/// removed.
async fn refused(response: Response, token: Option<&str>) -> Refused {
    let header = |name| {
        let value = response.headers().get(name)?;
        Some(without_token(&String::from_utf8_lossy(value.as_bytes()), token))
    };
    let status = response.status().as_u16();
    let location = header(LOCATION).filter(|_| response.status().is_redirection());
    let retry_after = header(RETRY_AFTER);
    let explains = response.status().is_client_error() || response.status().is_server_error();
    let line = if explains { first_line(response, token).await } else { None };
    Refused { status, location, retry_after, line }
}

/// The first line of a body, if it is text.
async fn first_line(mut response: Response, token: Option<&str>) -> Option<String> {
    if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return None;
    }
    let mut start = Vec::new();
    while start.len() < EXPLANATION {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        start.extend(chunk.iter().take(EXPLANATION - start.len()));
    }
    let text = beginning_in_utf8(&start)?;
    let line = title(text).or_else(|| text.lines().map(str::trim).find(|line| !line.is_empty()))?;
    Some(without_token(line, token))
}

/// The text in these bytes, which may end in the middle of a character. `None` if they are not
/// UTF-8.
pub(super) fn beginning_in_utf8(bytes: &[u8]) -> Option<&str> {
    match str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).and_then(|part| str::from_utf8(part).ok())
        }
        Err(_) => None,
    }
}

/// The title of an HTML page, whose first line says nothing useful.
fn title(text: &str) -> Option<&str> {
    if !text.trim_start().starts_with('<') {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower.get(from..)?.find("</title>")?;
    text.get(from..to).map(str::trim).filter(|title| !title.is_empty())
}

/// Replaces every part of the token in a text.
fn without_token(text: &str, token: Option<&str>) -> String {
    let parts = token.into_iter().flat_map(|token| token.split('.')).filter(|part| part.len() >= 8);
    parts.fold(text.to_owned(), |text, part| text.replace(part, "<token>"))
}

/// The server's time when it made the answer (RFC 9110 section 6.6.1). `None` for answers from a
/// cache (RFC 9111 section 5.1), which are older.
fn date(response: &Response) -> Option<Timestamp> {
    if response.headers().contains_key(AGE) {
        return None;
    }
    header::date(response.headers().get(DATE)?.as_bytes())
}

fn delivery(response: &Response) -> Delivery {
    let mut headers = response.headers().get_all(SIGNATURE_HEADER).iter();
    let signatures = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(only), None) => Some(Signatures::parse(only.as_bytes())),
        (Some(_), Some(_)) => Some(Err(SignatureError::TooMany)),
    };
    Delivery { etag: entity_tag(response), signatures, reader: None }
}

fn entity_tag(response: &Response) -> Option<String> {
    header::entity_tag(response.headers().get(ETAG)?.as_bytes()).map(str::to_owned)
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, FetchFailure> {
    // We ask for no encoding, and decompression can turn few bytes into many.
    if let Some(encoding) =
        response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity")
    {
        return Err(FetchFailure::Encoded(String::from_utf8_lossy(encoding.as_bytes()).into()));
    }
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(FetchFailure::TooLarge { limit });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(FetchFailure::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
