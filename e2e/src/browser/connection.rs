//! The connection to a browser: calls with their answers, and the events in between.

use crate::wait::SOON;
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// The largest answer: a picture.
const LARGEST: usize = 64 << 20;

pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: u64,
    requests: Vec<String>,
    faults: Vec<String>,
}

impl Connection {
    pub(super) async fn open(url: &str) -> Result<Self> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let (socket, _) = connect_async_with_config(url, Some(config), true).await?;
        Ok(Self { socket, last: 0, requests: Vec::new(), faults: Vec::new() })
    }

    pub(super) async fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        parameters: Value,
    ) -> Result<Value> {
        self.last += 1;
        let mut call = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = session {
            call["sessionId"] = session.into();
        }
        let answer = async {
            self.socket.send(Message::text(call.to_string())).await?;
            self.answer(self.last).await
        };
        let mut answer = tokio::time::timeout(SOON, answer)
            .await
            .with_context(|| format!("{method} takes too long"))??;
        match answer.get("error") {
            Some(error) => bail!("{method}: {error}"),
            None => Ok(answer["result"].take()),
        }
    }

    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = self.socket.next().await.context("the browser has ended")??;
            let Message::Text(text) = message else { continue };
            let value: Value = serde_json::from_str(&text)?;
            if value["id"] == id {
                return Ok(value);
            }
            self.event(&value);
        }
    }

    fn event(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.requests.extend(parameters["request"]["url"].as_str().map(str::to_owned));
            }
            Some("Runtime.exceptionThrown") => {
                self.faults.push(parameters["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if parameters["entry"]["source"] == "security" => {
                self.faults.push(parameters["entry"]["text"].to_string());
            }
            Some("Page.javascriptDialogOpening") => self.faults.push("a dialog opens".to_owned()),
            _ => {}
        }
    }

    /// The URLs of all requests so far.
    pub(super) fn requests(&self) -> &[String] {
        &self.requests
    }

    /// What went wrong in the page so far.
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }
}
