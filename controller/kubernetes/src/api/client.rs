//! The client of the API server.

mod limited;
mod unreached;

use anyhow::{Context, Result};
use fedgate_process::words::{causes, io};
use hyper::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};
use limited::{Limited, NoAnswer};
use std::path::Path;
use std::time::Duration;
use unreached::Unreached;

/// The time limit for connecting to the API server.
const CONNECT: Duration = Duration::from_secs(5);

/// The maximum number of characters of an error that are shown: the API server may quote a whole
/// object.
const LONGEST_ERROR: usize = 400;

/// What is said of an answer in another form.
const NOT_AN_API_SERVER: &str = "expected the answer of an API server, found something else; see whether a proxy or a login page answers at \
     this address";

/// A client for `KUBECONFIG`, `~/.kube/config` or the Pod's service account, in this order.
///
/// # Errors
/// If none of them exists, or one of them is invalid.
pub(crate) async fn connect() -> Result<Client> {
    let config = Config::infer().await.context(
        "no API server to connect to: expected a kubeconfig (KUBECONFIG or ~/.kube/config), or a Pod with a service account",
    )?;
    with(config)
}

/// A client for a user's kubeconfig: the one in `file`, with `context`; otherwise as [`connect`]
/// does.
///
/// # Errors
/// If there is no kubeconfig, or it is invalid.
pub async fn of_user(file: Option<&Path>, context: Option<&str>) -> Result<Client> {
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = match (file, context) {
        (Some(file), _) => {
            let unreadable = |error: std::io::Error| {
                anyhow::anyhow!("--kubeconfig {}: {}", file.display(), io(&error))
            };
            std::fs::File::open(file).map_err(unreadable)?;
            let kubeconfig = Kubeconfig::read_from(file);
            // The text of the error already has its cause.
            let kubeconfig = kubeconfig
                .map_err(|error| anyhow::anyhow!("--kubeconfig {}: {error}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await,
        (None, None) => match Config::infer().await {
            Ok(config) => Ok(config),
            Err(error) => {
                return Err(error).context(
                    "no cluster to ask: expected a folder with fedgate.yaml (--dir), a kubeconfig (--kubeconfig, KUBECONFIG or \
                     ~/.kube/config), or a Pod with a service account",
                );
            }
        },
    };
    with(config.context("the kubeconfig cannot be used; see `kubectl config view`")?)
}

/// A client with this configuration. Each of its requests ends, with or without an answer.
///
/// # Errors
/// If the configuration has invalid certificates or keys.
fn with(mut config: Config) -> Result<Client> {
    config.connect_timeout = Some(CONNECT);
    let url = config.cluster_url.clone();
    let client = Client::try_from(config.clone())
        .with_context(|| format!("the kubeconfig for {url} cannot be used"))?;
    Ok(over(client, Some(url), move || Client::try_from(config.clone()).ok()))
}

/// A client that sends requests through `client`, and replaces it by a new one after a request
/// without an answer. Errors name `server`.
pub(crate) fn over(
    client: Client,
    server: Option<Uri>,
    open: impl FnMut() -> Option<Client> + Send + 'static,
) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Limited::new(client, server, open), namespace)
}

/// An error with its causes, in one line; the API server's message if there is one. The client's
/// errors do not quote credentials.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = || causes(error);
    let of_client = |cause: &(dyn std::error::Error + 'static)| {
        let no_answer = cause.downcast_ref::<NoAnswer>().map(ToString::to_string);
        no_answer.or_else(|| cause.downcast_ref::<Unreached>().map(ToString::to_string))
    };
    let is_no_answer_of_it = || causes().any(|cause| cause.is::<serde_json::Error>());
    let text = match causes().find_map(|cause| status(cause)) {
        Some(status) => format!("the API server says {}: {}", status.code, status.message),
        None => causes().find_map(of_client).unwrap_or_else(|| match is_no_answer_of_it() {
            true => NOT_AN_API_SERVER.to_owned(),
            false => causes().map(ToString::to_string).collect::<Vec<_>>().join(": "),
        }),
    };
    text.chars().take(LONGEST_ERROR).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn status<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Status> {
    error.downcast_ref::<Box<Status>>().map(AsRef::as_ref).or_else(|| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_servers_own_message_is_shown() {
        let status =
            Status { code: 403, message: "services is forbidden".to_owned(), ..Status::default() };
        let error =
            kube::runtime::watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        assert_eq!(describe(&error), "the API server says 403: services is forbidden");
    }
}
