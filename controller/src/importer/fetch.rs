//! One GET whose every dimension is bounded: time by the client, bytes here.

use super::FetchFailure;
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH},
};

/// The longest entity tag that is kept; a longer one is passed over, and the document is fetched in full each time.
const MAX_ETAG: usize = 256;

/// What to get.
pub(super) struct Get<'a> {
    pub(super) url: String,
    /// The token, for a document that needs one.
    pub(super) bearer: Option<&'a str>,
    /// The entity tag of the document that is known.
    pub(super) known: Option<&'a str>,
    /// The most bytes of the body.
    pub(super) limit: usize,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The document, and its entity tag if the server has such.
    Fresh { body: Vec<u8>, etag: Option<String> },
    /// The document that is known is still the newest.
    NotModified,
}

pub(super) async fn get(client: &Client, get: Get<'_>) -> Result<Answer, FetchFailure> {
    let mut request = client.get(&get.url);
    if let Some(token) = get.bearer {
        request = request.bearer_auth(token);
    }
    let known = get.known.and_then(|etag| HeaderValue::from_str(etag).ok());
    let may_be_known = known.is_some();
    if let Some(etag) = known {
        request = request.header(IF_NONE_MATCH, etag);
    }
    let response = request.send().await?;
    match response.status() {
        StatusCode::OK => {
            let etag = entity_tag(&response);
            Ok(Answer::Fresh { body: body(response, get.limit).await?, etag })
        }
        StatusCode::NOT_MODIFIED if may_be_known => Ok(Answer::NotModified),
        other => Err(FetchFailure::Status(other.as_u16())),
    }
}

fn entity_tag(response: &Response) -> Option<String> {
    let etag = response.headers().get(ETAG)?.to_str().ok()?;
    (etag.len() <= MAX_ETAG).then(|| etag.to_owned())
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, FetchFailure> {
    // We ask for none, and unpacking turns few bytes into many.
    if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
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
