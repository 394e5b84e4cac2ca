//! Checks the API server, and the kinds that it must serve.

use super::facts::{Api, Facts, Served};
use super::report::{Check, Section};
use crate::api::kind::Kind;
use jiff::SignedDuration;

/// The difference of clocks from which there is a warning.
const CLOCKS: SignedDuration = SignedDuration::from_secs(5);

const OURS: &[Kind] = &[Kind::IstioFederation, Kind::FederationPolicy, Kind::FederatedService];
const ISTIOS: &[Kind] = &[
    Kind::ServiceEntry,
    Kind::DestinationRule,
    Kind::EnvoyFilter,
    Kind::WasmPlugin,
    Kind::Gateway,
    Kind::VirtualService,
];

/// All kinds that the API server must serve.
pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    OURS.iter().chain(ISTIOS).copied()
}

pub(super) fn section(facts: &Facts) -> Section {
    let checks = match &facts.api {
        Err(why) => {
            let hint = "name a kubeconfig and its context with --kubeconfig and --context; `kubectl version` must work with them";
            vec![Check::failed("api-reachable", TITLE, why, hint)]
        }
        Ok(api) => {
            let apply = "apply the CustomResourceDefinitions of this version of fedgate (deploy/kubernetes/crds)";
            vec![
                Check::ok("api-reachable", TITLE, format!("Kubernetes {}", api.version)),
                clocks(api),
                served("fedgate-kinds", "fedgate's kinds are served", OURS, api, apply),
                served(
                    "istio-kinds",
                    "Istio's kinds are served",
                    ISTIOS,
                    api,
                    "install Istio 1.29 or later, or its CustomResourceDefinitions",
                ),
            ]
        }
    };
    Section { name: "Kubernetes API".to_owned(), checks }
}

const TITLE: &str = "the API server answers";

/// Ages are computed from clocks, so this machine's clock must agree with the cluster's.
fn clocks(api: &Api) -> Check {
    const TITLE: &str = "this machine's clock agrees with the API server's";
    match api.ahead {
        None => Check::skipped("clocks", TITLE, "the API server does not send its time"),
        Some(ahead) if ahead.abs() < CLOCKS => Check::ok("clocks", TITLE, ""),
        Some(ahead) => {
            let detail = format!(
                "this machine's is {:#} {}",
                ahead.abs(),
                if ahead.is_positive() { "ahead" } else { "behind" }
            );
            Check::warning(
                "clocks",
                TITLE,
                detail,
                "check NTP on both; peers refuse tokens if clocks differ by minutes",
            )
        }
    }
}

fn served(name: &'static str, title: &str, kinds: &[Kind], api: &Api, hint: &str) -> Check {
    let missing = kinds.iter().filter_map(|kind| match api.kinds.get(kind) {
        Some(Served::Yes) => None,
        Some(Served::No(versions)) if !versions.is_empty() => Some(format!(
            "{} is not served in {} ({} is)",
            kind.name(),
            kind.api_version(),
            versions.join(", ")
        )),
        _ => Some(format!("it does not serve {} ({})", kind.name(), kind.api_version())),
    });
    let missing: Vec<_> = missing.collect();
    match missing.is_empty() {
        true => {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            Check::ok(name, title, names.join(", "))
        }
        false => Check::failed(name, title, missing.join("; "), hint),
    }
}
