//! A policy that cannot be read closes, for whatever reason. Each case has an allowing counterpart.

use super::tests::{Folder, federation, findings, only, policies, policy, service, services};
use super::{ManifestSource, Manifests};
use fedgate_federation::object::{PeerSelection, PolicyBody};
use fedgate_federation::{FindingReason, Severity};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Whether a policy closes for a peer: it selects the peer and allows nothing.
fn closes(manifests: &Manifests, peer: &str) -> bool {
    manifests.objects.policies.iter().any(|policy| match &policy.body {
        PolicyBody::Unreadable(PeerSelection::All) => true,
        PolicyBody::Unreadable(PeerSelection::Only(names)) => {
            names.iter().any(|name| name.as_str() == peer)
        }
        PolicyBody::Spec(spec) => spec.services.as_ref().is_some_and(Vec::is_empty),
    })
}

fn has_error(manifests: &Manifests) -> bool {
    manifests.objects.findings.iter().any(|finding| finding.severity == Severity::Error)
}

#[test]
fn a_policy_field_without_a_value_fails_closed() {
    for spec in [
        "{peers: [gamma], services: }",
        "{peers: [gamma], services: ~}",
        "{peers: [gamma], services: [{namespaces: }]}",
        "{peers: [gamma], services: [{ports: }]}",
        "{peers: [gamma], services: [{selector: }]}",
        "{peers: [gamma], services: [{selector: {matchLabels: }}]}",
        "{peers: [gamma], services: [{selector: {matchLabels: {app: }}}]}",
        "{peers: [gamma], callers: }",
        "{peers: [gamma], callers: [{namespace: }]}",
        "{peers: [gamma], services: [~]}",
        "{peers: [gamma], mode: }",
        "{peers: }",
        "",
    ] {
        let mut folder = Folder::new();
        folder.put("p.yaml", &policy("p", spec));
        let manifests = folder.read();
        assert!(
            closes(&manifests, "gamma") && has_error(&manifests),
            "{spec}: {:?}",
            findings(&manifests)
        );
    }
    for spec in ["{peers: [gamma]}", "{peers: [gamma], services: [{namespaces: [shop]}]}", "{}"] {
        let mut folder = Folder::new();
        folder.put("p.yaml", &policy("p", spec));
        let manifests = folder.read();
        assert!(
            !closes(&manifests, "gamma") && findings(&manifests).is_empty(),
            "{spec}: {:?}",
            findings(&manifests)
        );
    }
}

#[test]
fn a_policy_can_allow_nothing() {
    let mut folder = Folder::new();
    folder.put("p.yaml", &policy("p", "{peers: [gamma], services: []}"));
    let manifests = folder.read();
    assert_eq!((policies(&manifests), findings(&manifests)), (vec![("p", None)], vec![]));
}

#[test]
fn a_policy_field_outside_the_spec_fails_closed() {
    let mut folder = Folder::new();
    folder.put("p.yaml", &(policy("p", "{peers: [gamma]}") + "callers: [{namespace: shop}]\n"));
    let manifests = folder.read();
    assert_eq!(policies(&manifests), [("p", Some(&only(&["gamma"])))]);
    assert!(
        findings(&manifests)[0].contains("callers: invalid_policy: expected no field beside spec")
    );
}

#[test]
fn an_unreadable_file_fails_closed_and_keeps_its_last_objects() {
    type Break = fn(&Folder);
    let ways: [(&str, Break); 4] = [
        ("a link whose target is gone", |folder| {
            symlink("/does/not/exist.yaml", folder.file("p.yaml")).unwrap()
        }),
        ("a link to itself", |folder| symlink("p.yaml", folder.file("p.yaml")).unwrap()),
        ("a folder, as a bind mount makes one", |folder| {
            fs::create_dir(folder.file("p.yaml")).unwrap()
        }),
        ("too large", |folder| {
            fs::File::create(folder.file("p.yaml")).unwrap().set_len(17 << 20).unwrap()
        }),
    ];
    for (what, break_it) in ways {
        let mut folder = Folder::new();
        break_it(&folder);
        let manifests = folder.read();
        assert!(closes(&manifests, "gamma") && has_error(&manifests), "{what}");

        let mut folder = Folder::new();
        folder.put("p.yaml", &policy("p", "{peers: [gamma]}"));
        assert!(!closes(&folder.read(), "gamma"));
        fs::remove_file(folder.file("p.yaml")).unwrap();
        break_it(&folder);
        for _ in 0..2 {
            let manifests = folder.read();
            assert_eq!(policies(&manifests), [("p", None)], "{what}");
            assert!(has_error(&manifests), "{what}");
            folder.restart();
        }
    }
}

#[test]
fn a_file_without_permission_fails_closed() {
    let mut folder = Folder::new();
    folder.put("p.yaml", &policy("p", "{peers: [gamma], services: []}"));
    fs::set_permissions(folder.file("p.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
    // As root the file is readable, and the policy applies as written. Either way nothing is open.
    assert!(closes(&folder.read(), "gamma"));
}

#[test]
fn a_link_to_a_file_is_followed() {
    let mut folder = Folder::new();
    let target = folder.root.path().join("elsewhere.yaml");
    fs::write(&target, policy("p", "{peers: [gamma]}")).unwrap();
    symlink(&target, folder.file("p.yaml")).unwrap();
    assert_eq!(policies(&folder.read()), [("p", None)]);
}

#[test]
fn every_file_extension_of_a_manifest_is_recognized() {
    let json = r#"{"apiVersion": "fedgate.dev/v1alpha1", "kind": "FederationPolicy", "metadata": {"name": "p"}, "spec": {"peers": ["gamma"], "services": []}}"#;
    let yaml = policy("p", "{peers: [gamma], services: []}");
    let names: [&[u8]; 6] =
        [b"p.yml", b"p.YAML", b"p.Yml", b"p\xff.yaml", "p\u{1f512}.yaml".as_bytes(), b"a b.yaml"];
    for name in names {
        let mut folder = Folder::new();
        fs::write(folder.root.path().join("manifests").join(OsStr::from_bytes(name)), &yaml)
            .unwrap();
        for _ in 0..2 {
            assert_eq!(policies(&folder.read()), [("p", None)], "{}", name.escape_ascii());
            folder.restart();
        }
    }
    let mut folder = Folder::new();
    folder.put("p.json", json);
    assert_eq!(policies(&folder.read()), [("p", None)]);
}

#[test]
fn a_policy_in_an_ignored_file_fails_closed() {
    for name in ["p", "p.txt", "p.yaml.txt", "p.conf", "below/p.yaml"] {
        let mut folder = Folder::new();
        fs::create_dir(folder.file("below")).unwrap();
        folder.put(name, &policy("p", "{peers: [gamma]}"));
        let manifests = folder.read();
        assert!(
            closes(&manifests, "gamma") && !closes(&manifests, "delta"),
            "{name}: {:?}",
            findings(&manifests)
        );
        assert!(has_error(&manifests), "{name}");
        // Other content of such a file is ignored.
        folder.put(name, "hello\n");
        let manifests = folder.read();
        assert!(
            policies(&manifests).is_empty() && findings(&manifests).is_empty(),
            "{name}: {:?}",
            findings(&manifests)
        );
    }
    let mut folder = Folder::new();
    folder.put("web.txt", &service("web"));
    let manifests = folder.read();
    assert!(
        services(&manifests).is_empty() && findings(&manifests)[0].contains("rename it"),
        "{:?}",
        findings(&manifests)
    );
}

#[test]
fn editor_leftovers_are_ignored_and_reported_when_the_file_is_gone() {
    for name in ["p.yaml~", "#p.yaml#", "p.yaml.bak", "p.yaml.swp", "p.yaml.orig"] {
        let mut folder = Folder::new();
        folder.put("p.yaml", &policy("p", "{peers: [gamma]}"));
        folder.put(name, &policy("old", "{}"));
        let manifests = folder.read();
        assert_eq!(
            (policies(&manifests), findings(&manifests)),
            (vec![("p", None)], vec![]),
            "{name}"
        );
        fs::remove_file(folder.file("p.yaml")).unwrap();
        let manifests = folder.read();
        assert!(policies(&manifests).is_empty());
        assert!(
            findings(&manifests)[0].contains("is not in force; rename the file"),
            "{name}: {:?}",
            findings(&manifests)
        );
    }
    let mut folder = Folder::new();
    folder.put(".p.yaml.swp", &policy("p", "{}"));
    assert!(findings(&folder.read()).is_empty());
}

#[test]
fn a_document_like_a_policy_fails_closed() {
    let good = policy("p", "{peers: [gamma]}");
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16.iter().copied()).collect();
    for (what, bytes) in [
        ("UTF-16", utf16),
        ("UTF-16 with its mark", with_mark),
        ("another plural", good.replace("FederationPolicy", "FederationPolicies").into_bytes()),
        ("another version", good.replace("v1alpha1", "v1").into_bytes()),
        ("a typing error in the kind, and another group", {
            good.replace("FederationPolicy", "FederationPolcy")
                .replace("fedgate.dev", "fedgate.io")
                .into_bytes()
        }),
        ("Kind", good.replace("kind:", "Kind:").into_bytes()),
        ("no kind", good.replace("kind: FederationPolicy\n", "").into_bytes()),
        ("no version", good.replace("apiVersion: fedgate.dev/v1alpha1\n", "").into_bytes()),
        (
            "a kind that is a list",
            good.replace("kind: FederationPolicy", "kind: [FederationPolicy]").into_bytes(),
        ),
        (
            "a list that is none",
            format!("kind: List\napiVersion: v1\nitems:\n  {}", good.replace('\n', "\n  "))
                .into_bytes(),
        ),
        ("a tab", good.replace("spec: ", "spec:\n\tpeers: ").into_bytes()),
        ("an invalid name", good.replace("name: p", "name: P_").into_bytes()),
        ("a bad byte", [good.as_bytes(), b"# \xff"].concat()),
    ] {
        let mut folder = Folder::new();
        fs::write(folder.file("a.yaml"), &bytes).unwrap();
        let manifests = folder.read();
        assert!(
            closes(&manifests, "gamma") && has_error(&manifests),
            "{what}: {:?}",
            findings(&manifests)
        );
    }
}

#[test]
fn a_policy_in_a_list_survives_a_broken_item() {
    let rows = |one: &str, two: &str| {
        let row = |text: &str| format!("- {}\n", text.trim_end().replace('\n', "\n  "));
        format!("{}{}", row(one), row(two))
    };
    let (good, broken) =
        (policy("p", "{peers: [gamma]}"), policy("q", "{peers: [delta], modus: x}"));
    for head in [
        "apiVersion: v1\nkind: List\n",
        "apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicyList\n",
    ] {
        let mut folder = Folder::new();
        folder.put("a.yaml", &format!("{head}items:\n{}", rows(&good, &broken)));
        let manifests = folder.read();
        assert_eq!(policies(&manifests), [("q", Some(&only(&["delta"]))), ("p", None)], "{head}");
    }
    // The rows of a typed list need not state their kind.
    let bare = "{metadata: {name: p}, spec: {peers: [gamma]}}";
    let mut folder = Folder::new();
    folder.put(
        "a.yaml",
        &format!("apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicyList\nitems: [{bare}]\n"),
    );
    assert_eq!(policies(&folder.read()), [("p", None)]);
    let mut folder = Folder::new();
    folder.put("a.yaml", &format!("{good}---\nkind: [\n---\n{broken}"));
    assert_eq!(policies(&folder.read()), [("q", Some(&only(&["delta"]))), ("p", None)]);
}

#[test]
fn an_invalid_name_keeps_the_last_objects_of_the_file() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &federation("alpha", ""));
    folder.read();
    folder.put("a.yaml", &federation("alpha", "").replace("name: alpha", "name: Alpha_"));
    let manifests = folder.read();
    assert_eq!(manifests.objects.federations[0].name, "alpha");
    assert!(findings(&manifests)[0].contains("metadata.name"), "{:?}", findings(&manifests));
    let mut folder = Folder::new();
    folder.put("s.yaml", &service("my_web"));
    let manifests = folder.read();
    assert!(
        services(&manifests).is_empty() && findings(&manifests)[0].contains("found \"my_web\"")
    );
}

#[test]
fn a_misplaced_field_is_reported_with_its_right_position() {
    let mut folder = Folder::new();
    folder.put(
        "a.yaml",
        &federation("alpha", "  ca: x\n  metadata: {insecureSkipverify: true}\nstatus: {}\n"),
    );
    let manifests = folder.read();
    assert_eq!(manifests.objects.federations.len(), 1);
    assert!(
        manifests
            .objects
            .findings
            .iter()
            .all(|finding| finding.reason == FindingReason::UnknownField)
    );
    insta::assert_snapshot!(findings(&manifests).join("\n"), @r#"
    IstioFederation alpha (manifests/a.yaml:7) spec.ca: unknown_field: there is no such field, so it is not used; did you mean spec.metadata.ca?
    IstioFederation alpha (manifests/a.yaml:8) spec.metadata.insecureSkipverify: unknown_field: there is no such field, so it is not used; did you mean "insecureSkipVerify"?
    "#);
}

#[test]
fn an_unmounted_folder_keeps_its_last_objects() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &service("web"));
    folder.read();
    // As kept after a read with a file system mounted on the folder.
    let kept = folder.root.path().join("state/manifests.json");
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, text.replace("\"mounted\":false", "\"mounted\":true")).unwrap();
    fs::remove_file(folder.file("a.yaml")).unwrap();
    folder.restart();
    for _ in 0..2 {
        let manifests = folder.read();
        assert_eq!(services(&manifests), ["web"]);
        assert!(
            findings(&manifests)[0].contains("mounted there is gone"),
            "{:?}",
            findings(&manifests)
        );
    }
    // A file in the folder shows that the folder is meant.
    folder.put("b.yaml", &service("cart"));
    assert_eq!(services(&folder.read()), ["cart"]);
}

#[test]
fn reading_without_memory_saves_nothing() {
    let folder = Folder::new();
    folder.put("a.yaml", &service("web"));
    let trust_domain = fedgate_core::TrustDomain::parse("beta.example").unwrap();
    let manifests =
        ManifestSource::without_memory(&folder.root.path().join("manifests"), &trust_domain).read();
    assert_eq!(services(&manifests), ["web"]);
    assert!(!folder.root.path().join("state").exists());
}
