//! Asks about the API server itself.

use super::super::api::kinds;
use super::super::facts::{Api, Served};
use crate::api::client::describe;
use crate::api::kind::Kind;
use hyper::header::DATE;
use hyper::{Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use std::collections::BTreeMap;

/// Asks for the version, the time, and the kinds.
pub(super) async fn ask(client: &Client) -> Result<Api, String> {
    let (version, ahead) = version(client).await?;
    let kinds = served(client).await.map_err(|error| describe(&error))?;
    Ok(Api { version, ahead, kinds })
}

/// The version, and how far this machine's clock is ahead of the API server's.
async fn version(client: &Client) -> Result<(String, Option<SignedDuration>), String> {
    let request =
        Request::get("/version").body(Body::empty()).map_err(|error| error.to_string())?;
    let response = client.send(request).await.map_err(|error| describe(&error))?;
    if response.status() != StatusCode::OK {
        return Err(format!("expected 200 for /version, found {}", response.status()));
    }
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let ahead = date.and_then(parsed).map(|date| Timestamp::now().duration_since(date));
    let body = response.into_body().collect_bytes().await.map_err(|error| describe(&error))?;
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok((json["gitVersion"].as_str().unwrap_or("of an unknown version").to_owned(), ahead))
}

/// A date in HTTP's form (RFC 9110, section 5.6.7), in whole seconds.
fn parsed(date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(date).ok()
}

async fn served(client: &Client) -> kube::Result<BTreeMap<Kind, Served>> {
    let groups = client.list_api_groups().await?;
    let mut served = BTreeMap::new();
    for kind in kinds() {
        let found = groups.groups.iter().find(|group| group.name == kind.group());
        let versions: Vec<_> = found.iter().flat_map(|group| &group.versions).collect();
        let has = match versions.iter().any(|version| version.version == kind.version()) {
            true => has(client, kind).await?,
            false => false,
        };
        // This version may be served for other kinds of the group.
        let others = versions.into_iter().filter(|version| version.version != kind.version());
        let versions = others.map(|version| version.version.clone());
        served.insert(kind, if has { Served::Yes } else { Served::No(versions.collect()) });
    }
    Ok(served)
}

async fn has(client: &Client, kind: Kind) -> kube::Result<bool> {
    let listed = client.list_api_group_resources(&kind.api_version()).await?;
    Ok(listed.resources.iter().any(|resource| resource.kind == kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_a_response_is_read() {
        assert_eq!(
            parsed("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some("1994-11-06T08:49:37Z".parse().unwrap())
        );
        assert_eq!(parsed("soon"), None);
    }
}
