//! The names in the formats of people and of name servers.

use super::view::{Name, View};
use crate::terminal::layout::{Cell, block};
use crate::terminal::{Style, Terminal};
use anyhow::{Result, bail};
use std::fmt::Write;

/// How long CoreDNS may use a known name when `fedgate dns` does not answer.
const STALE: &str = "1h";

pub(super) fn text(view: &View, terminal: Terminal) -> String {
    let rows: Vec<_> = view.names.iter().map(|name| row(name, &view.advice())).collect();
    let mut out = match (view.server, &view.folder) {
        (Some(server), _) => format!("fedgate dns answers at {server}, port 53\n"),
        (None, Some(folder)) if view.names.iter().any(|name| !name.addresses.is_empty()) => {
            format!("also in {}\n", folder.join("hosts").display())
        }
        (None, _) => "no name server of fedgate answers for these names\n".to_owned(),
    };
    out += &block("names", &rows, terminal);
    out
}

fn row(name: &Name, advice: &str) -> Vec<Cell> {
    let list = |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(", ");
    let addresses = list(&mut name.addresses.iter().map(ToString::to_string));
    let ports = list(&mut name.ports.iter().map(ToString::to_string));
    let silent = list(&mut name.silent.iter().map(ToString::to_string));
    let problem = match (name.addresses.is_empty(), name.silent.is_empty()) {
        (true, _) => format!("no address: {advice}"),
        (false, false) if name.needs_capability => format!(
            "nothing listens at port {silent}: give the egress Envoy CAP_NET_BIND_SERVICE, or see its log"
        ),
        (false, false) => format!("nothing listens at port {silent}: see the egress Envoy's log"),
        (false, true) => return vec![name.host.as_str().into(), addresses.into(), ports.into()],
    };
    let problem = Cell::new(Style::Bad, &problem);
    vec![name.host.as_str().into(), addresses.into(), ports.into(), problem]
}

/// Lines as in `/etc/hosts`. Names without an address are left out.
pub(super) fn hosts(view: &View) -> String {
    let mut out = String::new();
    for name in &view.names {
        for address in &name.addresses {
            let _ = writeln!(out, "{address} {}", name.host);
        }
    }
    out
}

/// A block for a Corefile. Only the zones of peers and of federated names are in it, and there are no
/// other names in them.
pub(super) fn corefile(view: &View) -> Result<String> {
    if view.zones.is_empty() {
        bail!("there is no peer yet, so there is no zone to forward; add an IstioFederation first");
    }
    let plugin = match (view.server, &view.folder) {
        (Some(server), _) => format!(
            "    cache 30 {{\n        serve_stale {STALE} verify\n    }}\n    forward . {server}\n"
        ),
        (None, Some(folder)) => {
            format!(
                "    auto {{\n        directory {}\n        reload 1s\n    }}\n",
                folder.join("zones").display()
            )
        }
        (None, None) => bail!(
            "there is no Service fedgate-dns; set the chart's dns.enabled to true first, and imports.addresses to a range that nothing in \
             the cluster uses"
        ),
    };
    let keys: Vec<_> = view.zones.iter().map(|zone| format!("{zone}:53")).collect();
    Ok(format!("{} {{\n    errors\n{plugin}}}\n", keys.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn name(host: &str, address: Option<&str>, silent: &[u16]) -> Name {
        Name {
            host: host.into(),
            peer: Some("beta".into()),
            ports: BTreeSet::from([80, 443]),
            addresses: address.map(|address| address.parse().unwrap()).into_iter().collect(),
            silent: silent.iter().copied().collect(),
            needs_capability: false,
        }
    }

    fn view(names: Vec<Name>) -> View {
        View {
            names,
            zones: ["svc.beta.example", "svc.gamma.example"].map(str::to_owned).into(),
            server: Some("10.0.0.53".parse().unwrap()),
            folder: None,
            setting: "imports.addresses",
        }
    }

    #[test]
    fn only_names_with_an_address_are_lines_of_hosts() {
        let view = view(vec![
            name("web.shop.svc.beta.example", Some("240.96.0.1"), &[]),
            name("api.shop.svc.beta.example", None, &[]),
        ]);
        assert_eq!(hosts(&view), "240.96.0.1 web.shop.svc.beta.example\n");
        assert!(!view.is_well());
        // The setting is there, so something else is wrong.
        let expected = "1 name without an address: see the findings of `fedgate status`";
        assert_eq!(view.unnamed().as_deref(), Some(expected));
        let shown = text(&view, Terminal::PIPE);
        assert!(shown.contains("no address: see the findings"), "{shown}");
    }

    #[test]
    fn without_any_address_the_setting_is_missing() {
        let view = view(vec![name("web.shop.svc.beta.example", None, &[])]);
        let expected = "1 name without an address: set imports.addresses";
        assert_eq!(view.unnamed().as_deref(), Some(expected));
        let shown = text(&view, Terminal::PIPE);
        assert!(shown.contains("no address: set imports.addresses"), "{shown}");
    }

    #[test]
    fn a_port_at_which_nothing_listens_is_not_well() {
        let host = "web.shop.svc.beta.example";
        assert!(view(vec![name(host, Some("127.96.0.1"), &[])]).is_well());
        let silent = view(vec![name(host, Some("127.96.0.1"), &[80])]);
        assert!(!silent.is_well());
        let shown = text(&silent, Terminal::PIPE);
        assert!(shown.contains("nothing listens at port 80") && !shown.contains("CAP_"), "{shown}");
        let low = Name { needs_capability: true, ..name(host, Some("127.96.0.1"), &[80]) };
        let shown = text(&view(vec![low]), Terminal::PIPE);
        assert!(
            shown.contains("at port 80: give the egress Envoy CAP_NET_BIND_SERVICE"),
            "{shown}"
        );
    }

    #[test]
    fn the_block_forwards_the_zones_of_peers_and_nothing_else() {
        let view = view(vec![]);
        assert_eq!(
            corefile(&view).unwrap(),
            "svc.beta.example:53 svc.gamma.example:53 {\n    errors\n    cache 30 {\n        serve_stale 1h verify\n    }\n    \
             forward . 10.0.0.53\n}\n"
        );
        let error = corefile(&View { server: None, ..view.clone() }).unwrap_err().to_string();
        assert!(error.contains("dns.enabled"), "{error}");
        let error = corefile(&View { zones: BTreeSet::new(), ..view.clone() }).unwrap_err();
        assert!(error.to_string().contains("no peer yet"));
        let site = View { server: None, folder: Some("/etc/fedgate/names".into()), ..view };
        assert!(corefile(&site).unwrap().contains("directory /etc/fedgate/names/zones\n"));
    }
}
