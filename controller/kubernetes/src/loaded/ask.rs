//! One question to one Pod.

use super::gauge::{Gauges, QUERY, Search};
use fedgate_process::words::causes;
use reqwest::{Client, redirect::Policy};

use std::time::Duration;

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(2);
/// The time limit for a Pod's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The maximum size of an answer in bytes: an Envoy with ten thousand clusters shows several
/// megabytes of metrics.
const LARGEST: usize = 32 << 20;

/// Asks Pods.
pub(super) struct Asker(Client);

impl Asker {
    pub(super) fn new() -> reqwest::Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(PATIENCE);
        Ok(Self(client.build()?))
    }

    /// What the proxy reports of its filter's table.
    pub(super) async fn gauges(&self, url: &str) -> Result<Gauges, String> {
        let response = self.0.get(format!("{url}?{QUERY}")).send().await;
        let mut response = response.map_err(|error| describe(&error))?;
        if !response.status().is_success() {
            return Err(format!("it answers {}", response.status()));
        }
        let (mut search, mut read) = (Search::default(), 0);
        while let Some(piece) = response.chunk().await.map_err(|error| describe(&error))? {
            if let Some(gauges) = search.piece(&piece) {
                return Ok(gauges);
            }
            read += piece.len();
            if read > LARGEST {
                return Err(format!("its answer has more than {LARGEST} bytes"));
            }
        }
        Ok(search.end())
    }
}

/// The last cause, which says what went wrong, but not where.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("it has not answered within {PATIENCE:?}");
    }
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;

    async fn serve() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endless = || async {
            axum::body::Body::from_stream(futures_util::stream::repeat(Ok::<
                _,
                std::convert::Infallible,
            >(vec![
                b'x';
                1 << 16
            ])))
        };
        let router = Router::new()
            .route(
                "/good",
                get(|| async {
                    "a 1\nfedgate_table_generation{} 7\nfedgate_table_threads{} 3\nenvoy_server_concurrency{} 2\n"
                }),
            )
            .route("/none", get(|| async { "a 1\n" }))
            .route("/broken", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
            .route("/moved", get(|| async { axum::response::Redirect::to("/good") }))
            .route("/endless", get(endless));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn answers_of_all_kinds() {
        let (url, asker) = (serve().await, Asker::new().unwrap());
        let ask = async |path: &str| asker.gauges(&format!("{url}{path}")).await;
        assert_eq!(ask("/good").await, Ok(Gauges::everywhere(7)));
        assert_eq!(ask("/none").await, Ok(Gauges::default()));
        assert!(ask("/broken").await.unwrap_err().contains("503"));
        assert!(ask("/moved").await.unwrap_err().contains("303"), "it is not followed");
        let endless = ask("/endless").await.unwrap_err();
        assert!(endless.contains("more than") || endless.contains("within 5s"), "{endless}");
        let unreachable = asker.gauges("http://127.0.0.1:1/").await.unwrap_err();
        assert!(unreachable.contains("refused"), "{unreachable}");
    }
}
