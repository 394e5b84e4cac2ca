//! The demo's output: plain text, with colours on a terminal only.

use fedgate_e2e::cluster::Cluster;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

/// The column at which text after the labels is wrapped.
const WIDTH: usize = 96;

pub(crate) struct Screen {
    colours: bool,
    scenes: usize,
    failed: Vec<usize>,
    /// All text shown so far.
    printed: String,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colours, scenes: 0, failed: Vec::new(), printed: String::new() }
    }

    /// All text shown so far.
    pub(crate) fn printed(&self) -> &str {
        &self.printed
    }

    fn print(&mut self, line: &str) {
        println!("{line}");
        self.printed += line;
        self.printed.push('\n');
    }

    pub(crate) fn opening(&mut self) {
        self.print("Three clusters, each with its own root CA, controller, gateway Envoy and egress Envoy:\n");
    }

    pub(crate) fn clusters(&mut self, clusters: &[Cluster], time: Duration) {
        for cluster in clusters {
            let (name, domain) = (cluster.name(), cluster.trust_domain());
            let (gateway, metadata) = (cluster.gateway_address(), cluster.metadata_url());
            self.print(&format!("  {name:6} {domain:15} gateway {gateway:16} metadata {metadata}"));
        }
        self.print(&format!(
            "\nRunning, and imported from each other, after {:.1} s.\n",
            time.as_secs_f64()
        ));
    }

    /// Plays one scene: prints what it does and what is expected, then what happened.
    pub(crate) async fn scene(
        &mut self,
        does: &str,
        expects: &str,
        play: impl Future<Output = anyhow::Result<String>>,
    ) {
        self.scenes += 1;
        self.print(&format!("{:>3}. {}", self.scenes, wrap(&self.bold(does), 5)));
        self.print(&format!("     expected {}", wrap(expects, 14)));
        let start = Instant::now();
        let (verdict, text) = match play.await {
            Ok(text) => (self.green("ok"), text),
            Err(error) => {
                self.failed.push(self.scenes);
                (self.red("FAILED"), format!("{error:#}"))
            }
        };
        self.print(&format!("     happened {}", wrap(&text, 14)));
        self.print(&format!("     {verdict} ({:.1} s)\n", start.elapsed().as_secs_f64()));
    }

    /// Prints the summary. Returns true if all scenes went as expected.
    pub(crate) fn closing(&mut self, time: Duration) -> bool {
        let seconds = time.as_secs_f64();
        let (scenes, failed) = (self.scenes, self.failed.clone());
        match failed.as_slice() {
            [] => self.print(&format!("All {scenes} scenes went as expected, in {seconds:.0} s.")),
            _ => self.print(&format!(
                "{} of {scenes} scenes FAILED: {failed:?}. It took {seconds:.0} s.",
                failed.len()
            )),
        }
        self.failed.is_empty()
    }

    pub(crate) fn kept(&mut self, file: &Path) {
        self.print(&format!(
            "The clusters go on running; {} says where everything is. Ctrl-C ends them.",
            file.display()
        ));
    }

    fn bold(&self, text: &str) -> String {
        self.coloured("1", text)
    }

    fn green(&self, text: &str) -> String {
        self.coloured("32", text)
    }

    fn red(&self, text: &str) -> String {
        self.coloured("1;31", text)
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        match self.colours {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// Breaks long lines at spaces. Continuation lines start at column `indent`.
fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.chars().count() > WIDTH {
            out.push_str(&format!("\n{:indent$}", ""));
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out
}
