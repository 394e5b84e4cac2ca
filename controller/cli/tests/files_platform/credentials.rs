//! Certificates that would make every call fail. `validate`, `status` and the metrics report them
//! until they are corrected.

use crate::cluster::{Cluster, fedgate};
use rcgen::{CertificateParams, KeyPair, SanType};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

/// The findings of `validate` that a good folder does not have, by reason and field; its exit
/// status; its output.
fn validate(cluster: &Cluster) -> (Vec<(String, String)>, i32, String) {
    let output = fedgate()
        .arg("validate")
        .arg(cluster.folder())
        .args(["--output", "json"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let findings: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_default();
    let word = |finding: &serde_json::Value, key: &str| {
        finding[key].as_str().unwrap_or_default().to_owned()
    };
    let found =
        findings.iter().map(|finding| (word(finding, "reason"), word(finding, "field"))).collect();
    (found, output.status.code().unwrap(), text)
}

/// Sets the validity, in days from now.
fn lasts(parameters: &mut CertificateParams, from: i32, to: i32) {
    let day = |days: i32| match u32::try_from(days) {
        Ok(days) => SystemTime::now() + DAY * days,
        Err(_) => SystemTime::now() - DAY * days.unsigned_abs(),
    };
    (parameters.not_before, parameters.not_after) = (day(from).into(), day(to).into());
}

#[test]
fn validate_finds_each_unusable_credential_file() {
    type Spoil = fn(&Cluster);
    let cases: [(&str, &str, Spoil); 10] = [
        ("certificate_expired", "identity.certificateChain", |c| c.put_leaf(|p| lasts(p, -3, -1))),
        ("certificate_not_yet_valid", "identity.certificateChain", |c| {
            c.put_leaf(|p| lasts(p, 1, 3))
        }),
        ("invalid_certificate", "identity.certificateChain", |c| {
            c.put_leaf(|p| p.key_usages.clear())
        }),
        ("untrusted_certificate", "identity.certificateChain", |c| {
            c.put("identity/roots.pem", &Cluster::new("alpha").root_pem)
        }),
        ("key_mismatch", "identity.privateKey", |c| {
            c.put("identity/gateway.key", &KeyPair::generate().unwrap().serialize_pem())
        }),
        ("invalid_key", "identity.privateKey", |c| {
            fs::remove_file(c.path("identity/gateway.key")).unwrap()
        }),
        ("invalid_key", "identity.privateKey", |c| c.put("identity/gateway.key", &c.root_pem)),
        ("key_mismatch", "metadata.tls.key", |c| {
            c.put("identity/metadata.key", &KeyPair::generate().unwrap().serialize_pem())
        }),
        ("invalid_certificate", "metadata.tls.certificate", |c| {
            fs::copy(c.path("identity/gateway.pem"), c.path("identity/metadata.pem")).unwrap();
            fs::copy(c.path("identity/gateway.key"), c.path("identity/metadata.key")).unwrap();
        }),
        ("invalid_certificate", "metadata.tls.certificate", |c| {
            fs::remove_file(c.path("identity/metadata.pem")).unwrap()
        }),
    ];
    assert_eq!(validate(&Cluster::new("alpha")).0, []);
    for (reason, field, spoil) in cases {
        let cluster = Cluster::new("alpha");
        spoil(&cluster);
        let (found, status, text) = validate(&cluster);
        assert_eq!(
            (found.as_slice(), status),
            (&[(reason.to_owned(), field.to_owned())][..], 1),
            "{text}"
        );
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}

/// An unreadable file does not keep the others from being read.
#[test]
fn validate_continues_after_unreadable_files() {
    type Spoil = fn(&Cluster);
    let ways: [(&str, Spoil); 3] = [
        ("found none", |c| {
            ["gateway.pem", "roots.pem"]
                .iter()
                .for_each(|file| fs::remove_file(c.path(&format!("identity/{file}"))).unwrap())
        }),
        ("found", |c| {
            ["gateway.pem", "roots.pem"]
                .iter()
                .for_each(|file| c.put(&format!("identity/{file}"), "<html></html>"))
        }),
        ("a regular file, found a folder", |c| {
            for file in ["gateway.pem", "roots.pem"].map(|file| c.path(&format!("identity/{file}")))
            {
                fs::remove_file(&file).unwrap();
                fs::create_dir(file).unwrap();
            }
        }),
    ];
    for (word, spoil) in ways {
        let cluster = Cluster::new("alpha");
        spoil(&cluster);
        cluster.put("identity/metadata.key", "hunter2");
        cluster.put("manifests/bad.yaml", "kind: [\n");
        let (found, status, text) = validate(&cluster);
        let mut fields: Vec<_> =
            found.iter().map(|(reason, field)| (reason.as_str(), field.as_str())).collect();
        fields.sort();
        let expected = [
            ("invalid_certificate", "identity.certificateChain"),
            ("invalid_key", "metadata.tls.key"),
            ("invalid_root", "identity.roots"),
            ("unreadable", ""),
        ];
        assert_eq!((fields.as_slice(), status), (&expected[..], 1), "{text}");
        assert!(text.matches(word).count() >= 2 && !text.contains("hunter2"), "{text}");
    }
}

/// Each invalid root is reported by itself, and a pipe does not block.
#[test]
fn validate_reports_each_invalid_block_of_the_roots() {
    let cluster = Cluster::new("alpha");
    let key = KeyPair::generate().unwrap().serialize_pem();
    cluster.put(
        "identity/roots.pem",
        &format!("{key}{}{}", cluster.root_pem, cluster.root_pem.replace("-----END", "----END")),
    );
    let (found, _, text) = validate(&cluster);
    assert_eq!(found.len(), 2, "{text}");
    assert!(
        text.contains("block 1: ") && text.contains("a private key, which must never be published"),
        "{text}"
    );
    assert!(text.contains("block 3: ") && text.contains("cut off"), "{text}");
    let key = cluster.path("identity/gateway.key");
    fs::remove_file(&key).unwrap();
    assert!(Command::new("mkfifo").arg(&key).status().unwrap().success());
    assert!(validate(&cluster).2.contains("expected a regular file, found a named pipe"));
}

/// To read a named pipe would wait for a writer, and a device has no end.
#[test]
fn pipes_and_devices_are_refused_by_name() {
    for (name, command) in [
        ("fedgate.yaml", "run"),
        ("state/authn.key", "run"),
        ("fedgate.yaml", "validate"),
        ("identity/gateway.key", "run"),
        ("identity/metadata.key", "run"),
        ("identity/metadata.key", "validate"),
    ] {
        for found in ["a named pipe", "a device", "a folder"] {
            let cluster = Cluster::new("alpha");
            let path = cluster.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            match found {
                "a device" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                "a folder" => fs::create_dir(&path).unwrap(),
                _ => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
            }
            // It kills a program that waits.
            let output = Command::new("timeout")
                .arg("20")
                .arg(env!("CARGO_BIN_EXE_fedgate"))
                .arg(command)
                .args((command == "run").then_some("--dir"))
                .arg(cluster.folder())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{name} {command}: {text}");
            let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
            let expected = format!("expected a regular file, found {found}");
            assert!(text.contains(file) && text.contains(&expected), "{name} {command}: {text}");
        }
    }
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning_and_exits_with_0() {
    let cluster = Cluster::new("alpha");
    cluster.put_leaf(|parameters| lasts(parameters, -99, 1));
    let (found, status, text) = validate(&cluster);
    let expected = ("certificate_ends_soon".to_owned(), "identity.certificateChain".to_owned());
    assert_eq!((found.as_slice(), status), (&[expected][..], 0), "{text}");
}

#[test]
fn keys_readable_by_others_are_reported() {
    let cluster = Cluster::new("alpha");
    let set = |name: &str, mode| {
        fs::set_permissions(cluster.path(name), Permissions::from_mode(mode)).unwrap()
    };
    set("identity/gateway.key", 0o640);
    assert_eq!(validate(&cluster).0, [], "Envoy may be of the same group");
    set("identity/gateway.key", 0o644);
    set("identity/metadata.key", 0o604);
    fs::create_dir_all(cluster.path("state")).unwrap();
    cluster.put(
        "state/authn.key",
        &KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem(),
    );
    set("state/authn.key", 0o640);
    let (found, status, text) = validate(&cluster);
    let fields: Vec<_> =
        found.iter().map(|(reason, field)| (reason.as_str(), field.as_str())).collect();
    let exposed = |field| ("exposed_key", field);
    assert_eq!(
        fields,
        ["identity.privateKey", "metadata.tls.key", "keyFile"].map(exposed),
        "{text}"
    );
    assert_eq!(status, 0);
    assert!(text.contains("chmod 600"), "{text}");
}

fn metrics(cluster: &Cluster) -> String {
    let admin: serde_json::Value =
        serde_json::from_slice(&fs::read(cluster.path("state/admin.json")).unwrap()).unwrap();
    let address = admin["address"].as_str().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The certificate expires a few seconds after the start. No file changes, but the status does.
#[test]
fn a_running_controller_reports_an_expired_certificate_until_renewed() {
    let mut cluster = Cluster::new("alpha");
    cluster.put_leaf(|parameters| {
        lasts(parameters, -3, 1);
        parameters.not_after = (SystemTime::now() + Duration::from_secs(6)).into();
    });
    cluster.start();
    let word = |status: &serde_json::Value, reason: &str| {
        let findings = status["findings"].as_array()?;
        findings.iter().any(|finding| finding["reason"] == reason).then_some(())
    };
    // A warning alone leaves the status of `status` at 0; the missing Envoys add errors.
    cluster.wait("the end to be near", |status| {
        let findings = status["findings"].as_array()?;
        let near = findings.iter().find(|finding| finding["reason"] == "certificate_ends_soon")?;
        (near["severity"] == "warning").then_some(())
    });
    cluster.wait("the end", |status| word(status, "certificate_expired"));
    assert_eq!(cluster.run(&["status"]).status.code(), Some(1));
    for role in ["leaf", "root", "endpoint"] {
        let start =
            format!("fedgate_certificate_expiration_timestamp_seconds{{certificate=\"{role}\"");
        assert!(metrics(&cluster).contains(&start), "{role}");
    }
    cluster.put_leaf(|_| {});
    cluster.wait("a renewed certificate", |status| {
        let findings = status["findings"].as_array()?;
        // No Envoy runs here, which is a finding too.
        findings.iter().all(|finding| finding["reason"] == "envoy_not_running").then_some(())
    });
    // A key of another certificate is reported as soon as it is there. Until the pair is valid,
    // peers still see the old identity.
    cluster.put("identity/gateway.key", &KeyPair::generate().unwrap().serialize_pem());
    cluster.wait("a key of another certificate", |status| word(status, "key_mismatch"));
    // One finding, which also says what stays in force.
    let status = cluster.wait("one finding", |status| Some(status.clone()));
    let of_pair = |finding: &&serde_json::Value| {
        finding["field"].as_str().is_some_and(|field| field.starts_with("identity"))
    };
    let found: Vec<_> = status["findings"].as_array().unwrap().iter().filter(of_pair).collect();
    let [finding] = found[..] else { panic!("{found:#?}") };
    assert!(
        finding["message"].as_str().unwrap().ends_with("the previous version stays in force"),
        "{finding}"
    );
}

#[test]
fn validate_reports_a_certificate_with_two_names() {
    let cluster = Cluster::new("alpha");
    cluster.put_leaf(|parameters| {
        parameters
            .subject_alt_names
            .push(SanType::URI("spiffe://alpha.example/ns/a/sa/b".try_into().unwrap()));
    });
    assert!(validate(&cluster).2.contains("and 1 more"));
}
