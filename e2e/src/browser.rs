//! A real Chromium, driven over its DevTools protocol.

mod connection;

use crate::process::Process;
use crate::run_folder::RunFolder;
use crate::wait::{self, SOON};
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use connection::Connection;
use serde_json::{Value, json};
use std::path::Path;

/// Collects what must not happen in a page: violations of its policy, and errors of its scripts.
const WATCH: &str = "window.violations = []; window.faults = [];
    addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample), true);
    addEventListener('error', e => faults.push(String(e.message)));
    addEventListener('unhandledrejection', e => faults.push(String(e.reason)));";

/// A browser with one page. Dropping it ends the browser.
pub struct Browser {
    connection: Connection,
    session: String,
    _process: Process,
}

impl Browser {
    /// Starts a browser with a profile of its own in the run's folder.
    ///
    /// # Errors
    /// When Chromium cannot be fetched or started.
    pub async fn start(run: &RunFolder) -> Result<Self> {
        let chromium = xtask::chromium::browser()?;
        let profile = run.path().join("chromium");
        let folder = format!("--user-data-dir={}", profile.display());
        // Tests run as root in containers, where Chromium's own sandbox has no place.
        let arguments = [
            "--headless=shell",
            "--no-sandbox",
            "--no-zygote",
            "--disable-gpu",
            "--disable-software-rasterizer",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            "--no-first-run",
            "--no-proxy-server",
            "--remote-debugging-port=0",
            &folder,
            "about:blank",
        ];
        let arguments: Vec<_> = arguments.iter().map(std::ffi::OsStr::new).collect();
        let log = run.log("chromium");
        let (program, variables) = (&chromium.program, &chromium.variables);
        let mut process = Process::start_with("chromium", program, &arguments, variables, &log)?;
        let port_file = profile.join("DevToolsActivePort");
        let found = async || {
            Ok(std::fs::read_to_string(&port_file).ok().filter(|text| text.lines().count() > 1))
        };
        let text = process.wait_until("Chromium to listen", SOON, found).await?;
        let (port, path) = text.split_once('\n').context("a port and a path")?;
        let mut connection =
            Connection::open(&format!("ws://127.0.0.1:{port}{}", path.trim())).await?;
        let target =
            connection.call(None, "Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = connection.call(None, "Target.attachToTarget", attach).await?;
        let session = session["sessionId"].as_str().context("a session")?.to_owned();
        let mut browser = Self { connection, session, _process: process };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        browser.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH })).await?;
        browser.size(1280, 900).await?;
        Ok(browser)
    }

    /// Calls a method of the DevTools protocol on the page.
    ///
    /// # Errors
    /// When the browser refuses it or has ended.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.connection.call(Some(&self.session), method, parameters).await
    }

    /// Sets the size of the page's window. Small ones are phones.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn size(&mut self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await.map(drop)
    }

    /// Lets the page see a system with dark or light colours.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn colours(&mut self, scheme: &str) -> Result<()> {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await.map(drop)
    }

    /// Opens a URL.
    ///
    /// # Errors
    /// As [`Self::call`], and when there is no answer from there.
    pub async fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({ "url": url })).await?;
        match answer.get("errorText") {
            Some(why) => bail!("{url}: {why}"),
            None => Ok(()),
        }
    }

    /// The value of an expression in the page. A promise is awaited.
    ///
    /// # Errors
    /// As [`Self::call`], and when the expression throws.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", parameters).await?;
        ensure!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression in the page is true.
    ///
    /// # Errors
    /// When it does not become true soon; the message has the page's text.
    pub async fn wait(&mut self, what: &str, expression: &str) -> Result<()> {
        let mut look = async || Ok(self.evaluate(expression).await? == true);
        let waited = wait::until_true(what, SOON, &mut look).await;
        if let Err(error) = waited {
            let text = self.text().await.unwrap_or_default();
            let text: String = text.chars().take(3000).collect();
            bail!("{error:#}; the page shows: {text}");
        }
        Ok(())
    }

    /// The text that the page shows.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub async fn text(&mut self) -> Result<String> {
        let text = self.evaluate("document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Presses a key: a name such as `Tab`, or one character.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn press(&mut self, key: &str) -> Result<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            "PageDown" => 34,
            _ => 0,
        };
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let event = |kind: &str| {
            let mut event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            event
        };
        self.call("Input.dispatchKeyEvent", event("keyDown")).await?;
        self.call("Input.dispatchKeyEvent", event("keyUp")).await.map(drop)
    }

    /// Types text into what has the focus.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn type_text(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({ "text": text })).await.map(drop)
    }

    /// Writes a picture of the window as a PNG file.
    ///
    /// # Errors
    /// As [`Self::call`], and when the file cannot be written.
    pub async fn screenshot(&mut self, file: &Path) -> Result<()> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).await?;
        let bytes = BASE64_STANDARD.decode(answer["data"].as_str().context("a picture")?)?;
        Ok(std::fs::write(file, bytes)?)
    }

    /// Checks that no script failed, that nothing violated the page's policy, and that nothing but
    /// `origin` was contacted since the start.
    ///
    /// # Errors
    /// When one of these happened.
    pub async fn check(&mut self, origin: &str) -> Result<()> {
        let bad = self.evaluate("JSON.stringify([violations, faults])").await?;
        ensure!(bad == "[[],[]]", "violations of the policy, and faults of scripts: {bad}");
        let requests = self.connection.requests();
        ensure!(requests.iter().any(|url| url.starts_with(origin)), "no request: {requests:?}");
        let others: Vec<_> = requests
            .iter()
            .filter(|url| !url.starts_with(&format!("{origin}/")) && *url != "about:blank")
            .collect();
        ensure!(others.is_empty(), "something else was contacted: {others:?}");
        let faults = self.connection.faults();
        ensure!(faults.is_empty(), "the browser reports: {faults:?}");
        Ok(())
    }
}
