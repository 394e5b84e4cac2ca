//! A folder that people change: good files, broken ones, and what stays in force meanwhile.

use super::{ManifestSource, Manifests};
use fedgate_core::TrustDomain;
use fedgate_federation::object::{PeerSelection, PolicyBody};
use fedgate_federation::{FindingReason, Severity};
use fedgate_process::file_watch::{Changes, watch};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

pub(super) struct Folder {
    pub(super) root: TempDir,
    pub(super) source: ManifestSource,
}

impl Folder {
    pub(super) fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("manifests")).unwrap();
        let source = source(root.path());
        Self { root, source }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("manifests").join(name)
    }

    pub(super) fn put(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    pub(super) fn read(&mut self) -> Manifests {
        self.source.read()
    }

    /// As after a restart of the controller.
    pub(super) fn restart(&mut self) {
        self.source = source(self.root.path());
    }
}

pub(super) fn source(root: &Path) -> ManifestSource {
    let trust_domain = TrustDomain::parse("beta.example").unwrap();
    ManifestSource::new(&root.join("manifests"), &root.join("state"), &trust_domain)
}

pub(super) fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  ports:\n  - {{name: http, port: 80}}\n"
    )
}

pub(super) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

pub(super) fn federation(name: &str, more: &str) -> String {
    format!(
        "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {{name: {name}}}\nspec:\n  \
         trustDomain: {name}.example\n  metadataEndpoint: https://{name}.example/metadata\n{more}"
    )
}

pub(super) fn services(manifests: &Manifests) -> Vec<&str> {
    let mut names: Vec<_> =
        manifests.objects.services.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    names
}

pub(super) fn findings(manifests: &Manifests) -> Vec<String> {
    manifests.objects.findings.iter().map(ToString::to_string).collect()
}

/// The name of each policy; for an unreadable one, also the peers that it selects.
pub(super) fn policies(manifests: &Manifests) -> Vec<(&str, Option<&PeerSelection>)> {
    let selection = |body| match body {
        &PolicyBody::Spec(_) => None,
        PolicyBody::Unreadable(selection) => Some(selection),
    };
    manifests
        .objects
        .policies
        .iter()
        .map(|policy| (policy.name.as_str(), selection(&policy.body)))
        .collect()
}

pub(super) fn only(names: &[&str]) -> PeerSelection {
    PeerSelection::readable(Some(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()))
}

const SLICE: &str = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: other, port: 9}, {name: http, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.1, nonsense]}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: ['fd00::1'], conditions: {ready: true}}
";

#[test]
fn reads_all_kinds_from_several_documents_and_files() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &format!("# a comment\n---\n{}---\n{SLICE}", service("web")));
    folder.put(
        "b.yml",
        &format!("{}---\n{}", federation("alpha", ""), policy("p", "{peers: [alpha]}")),
    );
    folder.put(".hidden.yaml", "{{{");
    folder.put("notes.txt", "{{{");
    let manifests = folder.read();
    assert_eq!(services(&manifests), ["web"]);
    assert_eq!(manifests.objects.services[0].source.as_deref(), Some("manifests/a.yaml:3"));
    assert_eq!(manifests.objects.federations[0].spec.trust_domain, "alpha.example");
    assert_eq!(policies(&manifests), [("p", None)]);
    let endpoints: Vec<_> =
        manifests.endpoints.iter().map(|(name, found)| (name.to_string(), found)).collect();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    assert_eq!(endpoints[0].0, "web.shop.svc.beta.example:80");
    let addresses: Vec<_> = endpoints[0].1.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1:8080", "[fd00::1]:8080"]);
    insta::assert_snapshot!(findings(&manifests).join("\n"));
}

#[test]
fn a_name_over_several_clusters_is_read_and_its_local_workloads_are_counted() {
    let name = |spec: &str| {
        format!(
            "apiVersion: fedgate.dev/v1alpha1\nkind: FederatedService\nmetadata: {{name: web, namespace: shop}}\nspec: {spec}\n"
        )
    };
    let mut folder = Folder::new();
    folder.put("web.yaml", &format!("{}---\n{SLICE}", service("web")));
    folder.put("name.yaml", &name("{ports: [{name: http, port: 80}], members: [{local: {}}]}"));
    let objects = folder.read().objects;
    let [found] = &objects.federated_services[..] else { panic!("{objects:#?}") };
    assert_eq!((found.namespace.as_str(), found.name.as_str()), ("shop", "web"));
    assert_eq!(found.source.as_deref(), Some("manifests/name.yaml:1"));
    assert_eq!(objects.services[0].ports[0].ready, Some(2));
    // A version that is broken does not take its place, and closes nobody out as a policy would.
    folder.put("name.yaml", &name("{ports: [{name: http, port: 80}], members: [{locale: {}}]}"));
    let objects = folder.read().objects;
    assert_eq!(objects.federated_services.len(), 1);
    assert!(objects.policies.is_empty());
    folder.put("name.yaml", &format!("{}  - [", name("")));
    assert!(folder.read().objects.policies.is_empty());
    folder.put("web.yaml", &service("web"));
    assert_eq!(folder.read().objects.services[0].ports[0].ready, Some(0));
}

#[test]
fn a_list_is_read_as_its_items() {
    let mut folder = Folder::new();
    let rows: String = ["a", "b"]
        .map(|name| format!("- {}", service(name).replace('\n', "\n  ").trim_end()) + "\n")
        .concat();
    folder.put("list.yaml", &format!("apiVersion: v1\nkind: List\nitems:\n{rows}"));
    assert_eq!(services(&folder.read()), ["a", "b"]);
}

#[test]
fn errors_name_file_line_and_field_and_affect_nothing_else() {
    let mut folder = Folder::new();
    folder.put(
        "a.yaml",
        &format!("{}---\n{}", service("web"), service("db").replace("80", "eighty")),
    );
    folder.put("b.yaml", &format!("kind: [\n---\n{}", service("cart")));
    folder.put("c.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\njust text\n");
    folder.put("d.yaml", &federation("alpha", "").replace("  trustDomain: alpha.example\n", ""));
    folder.put("e.yaml", &service("nameless").replace("name: nameless, ", ""));
    folder.put("f.yaml", &service("far").replace("80", "80000"));
    fs::write(folder.file("g.yaml"), [0xff, 0xfe, 0]).unwrap();
    fs::create_dir(folder.file("h.yaml")).unwrap();
    let manifests = folder.read();
    assert_eq!(services(&manifests), ["cart", "web"]);
    insta::assert_snapshot!(findings(&manifests).join("\n"));
}

#[test]
fn last_good_objects_survive_a_restart_and_end_with_their_file() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &format!("{}---\n{}", service("web"), service("db")));
    assert_eq!(services(&folder.read()), ["db", "web"]);
    // One document is no longer YAML, so it may be either of the two.
    folder.put("a.yaml", &format!("{}---\nkind: [", service("web").replace("80", "81")));
    for _ in 0..2 {
        let manifests = folder.read();
        assert_eq!(services(&manifests), ["db", "web"]);
        let web = manifests.objects.services.iter().find(|service| service.name == "web").unwrap();
        assert_eq!(web.ports[0].port, 81, "what is good is taken as it is now");
        assert!(findings(&manifests)[0].contains("stay in force"), "{:?}", findings(&manifests));
        folder.restart();
    }
    // Corrected, without db: db is gone.
    folder.put("a.yaml", &service("web"));
    assert_eq!(services(&folder.read()), ["web"]);
    fs::remove_file(folder.file("a.yaml")).unwrap();
    assert!(services(&folder.read()).is_empty());
    folder.restart();
    assert!(services(&folder.read()).is_empty());
}

#[test]
fn a_recognizable_broken_document_keeps_only_its_own_object() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &format!("{}---\n{}", service("web"), service("db")));
    folder.read();
    folder.put("a.yaml", &service("db").replace("80", "eighty"));
    let manifests = folder.read();
    assert_eq!(services(&manifests), ["db"], "web was removed, and that is what happens");
    assert_eq!(manifests.objects.services[0].ports[0].port, 80);
}

#[test]
fn an_unlistable_folder_keeps_its_last_objects() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &service("web"));
    folder.read();
    fs::rename(folder.root.path().join("manifests"), folder.root.path().join("away")).unwrap();
    for _ in 0..2 {
        let manifests = folder.read();
        assert_eq!(services(&manifests), ["web"]);
        assert_eq!(manifests.objects.findings[0].reason, FindingReason::Unreadable);
        folder.restart();
    }
    // An empty folder is different: the files were removed.
    fs::create_dir(folder.root.path().join("manifests")).unwrap();
    assert!(services(&folder.read()).is_empty());
}

#[test]
fn the_first_of_two_objects_with_one_name_is_used_and_both_are_named() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &service("web"));
    folder.put("b.yaml", &format!("---\n{}", service("web").replace("80", "81")));
    let manifests = folder.read();
    assert_eq!(manifests.objects.services.len(), 1);
    assert_eq!(manifests.objects.services[0].ports[0].port, 80);
    let finding = &manifests.objects.findings[0];
    assert_eq!(finding.reason, FindingReason::DuplicateObject);
    assert_eq!(finding.object.source.as_deref(), Some("manifests/b.yaml:2"));
    assert!(finding.message.contains("manifests/a.yaml:1"), "{finding}");
}

#[test]
fn a_policy_that_was_never_valid_fails_closed() {
    for (text, name, selection) in [
        (policy("p", "{peers: [gamma], modus: Audit}"), "p", only(&["gamma"])),
        (policy("p", "{peers: gamma}"), "p", PeerSelection::All),
        (policy("p", "[]"), "p", PeerSelection::All),
        (policy("p", "{}").replace("spec: {}", ""), "p", PeerSelection::All),
        (policy("p", "{peers: [gamma]}").replace("v1alpha1", "v1"), "p", only(&["gamma"])),
        (
            policy("p", "{peers: [gamma]}").replace("FederationPolicy", "federationpolicies"),
            "p",
            only(&["gamma"]),
        ),
        (
            policy("p", "{peers: [gamma]}").replace("FederationPolicy", "FederatonPolicy"),
            "p",
            only(&["gamma"]),
        ),
        (
            policy("p", "{peers: [gamma]}").replace("fedgate.dev", "example.com"),
            "p",
            only(&["gamma"]),
        ),
        (
            policy("p", "{peers: [gamma]}").replace("name: p", ""),
            "(unreadable) manifests/p.yaml:1",
            only(&["gamma"]),
        ),
        (policy("p", "{peers: [gamma"), "(unreadable) manifests/p.yaml:4", PeerSelection::All),
        (
            policy("p", "{peers: [gamma]}\nspec: {}"),
            "(unreadable) manifests/p.yaml:5",
            PeerSelection::All,
        ),
    ] {
        let mut folder = Folder::new();
        folder.put("p.yaml", &format!("{text}---\n{}", service("web")));
        let manifests = folder.read();
        assert_eq!(
            policies(&manifests),
            [(name, Some(&selection))],
            "{text}\n{:?}",
            findings(&manifests)
        );
        assert!(manifests.objects.findings.iter().any(|f| f.severity == Severity::Error), "{text}");
        assert_eq!(services(&manifests), ["web"]);
    }
}

#[test]
fn an_unparsable_file_that_may_hold_a_policy_fails_closed() {
    let mut folder = Folder::new();
    fs::write(folder.file("a.yaml"), b"kind: FederationPolicy\nname: \xff\n").unwrap();
    fs::write(folder.file("b.yaml"), b"kind: Service\nname: \xff\n").unwrap();
    let manifests = folder.read();
    assert_eq!(
        policies(&manifests),
        [("(unreadable) manifests/a.yaml", Some(&PeerSelection::All))]
    );
    assert_eq!(manifests.objects.findings.len(), 2);
}

#[test]
fn a_broken_policy_keeps_its_last_form_and_fails_closed_for_added_peers() {
    let mut folder = Folder::new();
    folder.put("p.yaml", &policy("p", "{peers: [gamma]}"));
    folder.read();
    folder.put("p.yaml", &policy("p", "{peers: [gamma, delta], modus: Audit}"));
    for _ in 0..2 {
        let manifests = folder.read();
        let delta = only(&["delta"]);
        assert_eq!(policies(&manifests), [("p (as it was changed)", Some(&delta)), ("p", None)]);
        folder.restart();
    }
    // Not YAML at all: it may be the missing policy, so the policy stays in force and nothing else
    // is closed.
    folder.put("p.yaml", "kind: FederationPolicy\nspec: [");
    assert_eq!(policies(&folder.read()), [("p", None)]);
    // Removed for good.
    fs::remove_file(folder.file("p.yaml")).unwrap();
    assert!(policies(&folder.read()).is_empty());
}

#[test]
fn two_policies_with_one_name_both_fail_closed() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &policy("p", "{peers: [gamma]}"));
    folder.put("b.yaml", &policy("p", "{peers: [delta]}"));
    assert_eq!(policies(&folder.read()), [("p", None), ("p", None)]);
}

#[test]
fn an_alias_bomb_is_one_broken_document() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        bomb +=
            &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    }
    let mut folder = Folder::new();
    folder.put("a.yaml", &format!("{bomb}---\n{}", service("web")));
    let manifests = folder.read();
    assert_eq!(services(&manifests), ["web"]);
    assert_eq!(manifests.objects.findings[0].reason, FindingReason::Unreadable);
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &service("web"));
    fs::File::create(folder.file("b.yaml")).unwrap().set_len(17 << 20).unwrap();
    let manifests = folder.read();
    assert_eq!(services(&manifests), ["web"]);
    assert!(findings(&manifests)[0].contains("at most 16 MiB"), "{:?}", findings(&manifests));
}

#[test]
fn unreadable_state_is_set_aside() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &service("web"));
    fs::create_dir_all(folder.root.path().join("state")).unwrap();
    fs::write(folder.root.path().join("state/manifests.json"), "{").unwrap();
    folder.restart();
    assert_eq!(services(&folder.read()), ["web"]);
    assert_eq!(fs::read(folder.root.path().join("state/manifests.broken")).unwrap(), b"{");
}

pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) async fn expect(changes: &mut Changes, what: &str) {
    assert!(timeout(SOON, changes.next()).await.is_ok(), "not reported: {what}");
}

pub(super) async fn expect_nothing(changes: &mut Changes) {
    assert!(
        timeout(Duration::from_millis(600), changes.next()).await.is_err(),
        "reported without a change"
    );
}

#[tokio::test]
async fn all_kinds_of_changes_are_reported() {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name);
    fs::create_dir_all(path("manifests")).unwrap();
    fs::write(path("chain.pem"), "1").unwrap();
    let mut changes = watch(&[path("manifests"), path("chain.pem")]).unwrap();
    fs::write(path("manifests/a.yaml"), "1").unwrap();
    expect(&mut changes, "a new file").await;
    fs::write(path("manifests/.b"), "1").unwrap();
    fs::rename(path("manifests/.b"), path("manifests/a.yaml")).unwrap();
    expect(&mut changes, "a rename over it").await;
    fs::remove_file(path("manifests/a.yaml")).unwrap();
    expect(&mut changes, "a removal").await;
    fs::write(path("other"), "2").unwrap();
    fs::rename(path("other"), path("chain.pem")).unwrap();
    expect(&mut changes, "another certificate").await;
    fs::rename(path("manifests"), path("old")).unwrap();
    fs::create_dir(path("manifests")).unwrap();
    expect(&mut changes, "another folder").await;
    fs::write(path("manifests/c.yaml"), "1").unwrap();
    expect(&mut changes, "a file in the other folder").await;
}

#[tokio::test]
async fn each_link_swap_of_a_volume_is_reported() {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name);
    let swap = |version: &str| {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("chain.pem"), version).unwrap();
        std::os::unix::fs::symlink(version, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
    };
    swap("..1");
    std::os::unix::fs::symlink("..data/chain.pem", path("chain.pem")).unwrap();
    let mut changes = watch(&[path("chain.pem")]).unwrap();
    for version in ["..2", "..3"] {
        swap(version);
        expect(&mut changes, version).await;
    }
}

#[tokio::test]
async fn other_files_and_reads_are_not_reported() {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name);
    fs::create_dir_all(path("manifests")).unwrap();
    fs::write(path("manifests/a.yaml"), "1").unwrap();
    let mut changes = watch(&[path("manifests")]).unwrap();
    fs::write(path("access.log"), "1").unwrap();
    fs::read(path("manifests/a.yaml")).unwrap();
    expect_nothing(&mut changes).await;
    fs::write(path("manifests/a.yaml"), "2").unwrap();
    expect(&mut changes, "a change").await;
}

#[tokio::test]
async fn a_missing_path_is_reported_when_it_appears() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("later/manifests");
    let mut changes = watch(std::slice::from_ref(&folder)).unwrap();
    fs::create_dir_all(&folder).unwrap();
    expect(&mut changes, "a folder whose parent was not there either").await;
    fs::write(folder.join("a.yaml"), "1").unwrap();
    expect(&mut changes, "a file in it").await;
}
