//! A cluster gets a new key, step by step, and its peer follows by itself.

use crate::cluster::{Cluster, fedgate};
use crate::running::{finding, pair};
use serde_json::Value;

/// A line of the settings for each slot.
fn slots(settings: &str, current: &str, other: Option<&str>) -> String {
    let other = other.map(|file| format!("otherKeyFile: {file}\n")).unwrap_or_default();
    format!("{settings}keyFile: {current}\n{other}")
}

const OLD: &str = "state/authn.key";
const NEW: &str = "new.key";

struct Scene {
    alpha: Cluster,
    beta: Cluster,
    settings: String,
}

impl Scene {
    /// Two clusters that know each other.
    fn new() -> Self {
        let (alpha, beta) = pair();
        let settings = std::fs::read_to_string(beta.path("fedgate.yaml")).unwrap();
        let scene = Self { alpha, beta, settings };
        scene.keygen(NEW);
        scene.wait_known(OLD, "inForce");
        scene
    }

    fn keygen(&self, file: &str) {
        let made = fedgate().args(["keygen", "--out"]).arg(self.beta.path(file)).output().unwrap();
        assert!(made.status.success());
    }

    fn beta_signs_with(&self, current: &str, other: Option<&str>) {
        self.beta.put("fedgate.yaml", &slots(&self.settings, current, other));
    }

    /// What `fedgate check rotation` says of a key of beta's, by its file.
    fn key(&self, file: &str) -> Option<Value> {
        let pem = std::fs::read_to_string(self.beta.path(file)).unwrap();
        let key = fedgate_federation::key::SigningKey::from_pem(&pem).unwrap();
        let fingerprint = key.public().fingerprint().to_string();
        let keys = rotation(&self.beta)?["keys"].as_array()?.clone();
        keys.into_iter().find(|key| key["fingerprint"] == fingerprint.as_str())
    }

    /// Waits until alpha is known to hold a key of beta's, or not to.
    fn wait_known(&self, file: &str, holding: &str) {
        self.beta.wait(&format!("alpha to have {file} as {holding}"), |_| {
            (self.key(file)?["peers"]["alpha"] == holding).then_some(())
        });
        let status = self.alpha.status().unwrap();
        assert_eq!(status["peers"][0]["heldTrust"], Value::Null, "{status:#}");
    }

    fn nothing_is_held(&self) {
        let status = self.alpha.status().unwrap();
        assert_eq!(status["peers"][0]["heldTrust"], Value::Null, "{status:#}");
        let refused = finding(&status, "unsigned_document");
        assert_eq!(refused, None);
    }

    fn wait_held(&self) -> String {
        self.alpha.wait("the key to be held", |status| {
            status["peers"][0]["heldTrust"]["id"].as_str().map(str::to_owned)
        })
    }

    /// Waits until beta has a new document of alpha's, so that alpha accepts its tokens.
    fn wait_news_of_alpha(&self, service: &str) {
        self.alpha.put_service(service);
        let host = format!("{service}.shop.svc.alpha.example:80");
        self.beta.wait("alpha's new service", |status| {
            status["imports"]
                .as_array()?
                .iter()
                .find(|import| import["service"] == host.as_str())
                .map(drop)
        });
    }
}

fn rotation(cluster: &Cluster) -> Option<Value> {
    let mut command = fedgate();
    command.args(["check", "rotation", "--output", "json", "--dir"]).arg(cluster.folder());
    serde_json::from_slice(&command.output().unwrap().stdout).ok()
}

fn verdicts(key: &Value) -> [&str; 2] {
    ["sign", "remove"].map(|what| key[what]["verdict"].as_str().unwrap())
}

#[test]
fn a_new_key_needs_no_approval_with_an_overlap() {
    let mut scene = Scene::new();
    scene.wait_news_of_alpha("one");
    // Announced.
    scene.beta_signs_with(OLD, Some(NEW));
    scene.wait_known(NEW, "inForce");
    assert_eq!(verdicts(&scene.key(NEW).unwrap()), ["yes", "yes"]);
    assert_eq!(verdicts(&scene.key(OLD).unwrap()), ["yes", "no"]);
    // Withdrawn, and announced again.
    scene.beta_signs_with(OLD, None);
    scene.beta.wait("the new key to be gone", |_| scene.key(NEW).is_none().then_some(()));
    scene.beta_signs_with(OLD, Some(NEW));
    scene.wait_known(NEW, "inForce");
    // Both sides restart in the middle.
    assert_eq!(scene.alpha.stop(), 0);
    scene.beta_signs_with(NEW, Some(OLD));
    scene.beta.wait("the switch", |_| scene.key(NEW)?["signs"].as_bool().filter(|signs| *signs));
    scene.alpha.start();
    scene.wait_known(NEW, "inForce");
    assert_eq!(scene.beta.stop(), 0);
    scene.beta.start();
    scene.wait_known(NEW, "inForce");
    scene.wait_news_of_alpha("two");
    assert_eq!(verdicts(&scene.key(OLD).unwrap()), ["yes", "yes"]);
    // Back, and forth again.
    scene.beta_signs_with(OLD, Some(NEW));
    scene.beta.wait("the way back", |_| scene.key(OLD)?["signs"].as_bool().filter(|signs| *signs));
    scene.wait_news_of_alpha("three");
    scene.beta_signs_with(NEW, Some(OLD));
    scene.beta.wait("the switch", |_| scene.key(NEW)?["signs"].as_bool().filter(|signs| *signs));
    // The old key goes.
    scene.beta_signs_with(NEW, None);
    scene.beta.wait("the old key to be gone", |_| scene.key(OLD).is_none().then_some(()));
    scene.wait_known(NEW, "inForce");
    scene.wait_news_of_alpha("four");
    scene.nothing_is_held();
    let output =
        fedgate().args(["check", "rotation", "--dir"]).arg(scene.beta.folder()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("ok   alpha has it in force"), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
}

#[test]
fn a_new_key_without_an_overlap_is_held_and_its_tokens_are_refused() {
    let mut scene = Scene::new();
    // A running controller does not take it: it may be a mistake.
    scene.beta_signs_with(NEW, None);
    scene.beta.wait("the finding", |status| finding(status, "restart_needed").map(drop));
    scene.nothing_is_held();
    assert_eq!(scene.beta.stop(), 0);
    scene.beta.start();
    let id = scene.wait_held();
    let refused = scene.beta.wait("alpha's refusal", |status| {
        let conditions = status["peers"][0]["conditions"].as_array()?;
        let refused = |condition: &&Value| condition["reason"] == "NonOKResponse";
        conditions.iter().find(refused)?["message"].as_str().map(str::to_owned)
    });
    assert!(refused.contains("401"), "{refused}");
    let key = scene.key(NEW).unwrap();
    assert_eq!(verdicts(&key), ["no", "no"], "{key}");
    // The key before in the second slot vouches for it: nobody has to approve it.
    scene.beta_signs_with(NEW, Some(OLD));
    scene.wait_known(NEW, "inForce");
    scene.wait_news_of_alpha("one");
    assert!(!id.is_empty());
}

#[test]
fn a_second_slot_that_cannot_be_used_changes_nothing() {
    let mut scene = Scene::new();
    scene.beta_signs_with(OLD, Some(NEW));
    scene.wait_known(NEW, "inForce");
    let good = std::fs::read_to_string(scene.beta.path(NEW)).unwrap();
    let old = std::fs::read_to_string(scene.beta.path(OLD)).unwrap();
    let secret = good.lines().nth(1).unwrap().to_owned();
    for (text, says) in [
        ("", "an empty file"),
        ("garbage", "something else"),
        (&good[..60], "something else"),
        (old.as_str(), "the same"),
    ] {
        scene.beta.put(NEW, text);
        let told = scene.beta.wait("the finding", |status| {
            let told = finding(status, "invalid_key")?["message"].as_str()?.to_owned();
            told.contains(says).then_some(told)
        });
        assert!(told.contains("the previous version stays in force"), "{told}");
        assert!(!told.contains(&secret), "{told}");
        let keys = rotation(&scene.beta).unwrap()["keys"].as_array().unwrap().len();
        assert_eq!(keys, 2, "the one before stays");
    }
    // A restart goes on with the current key, and says what is wrong.
    assert_eq!(scene.beta.stop(), 0);
    scene.beta.start();
    scene.beta.wait("the finding", |status| finding(status, "invalid_key").map(drop));
    assert_eq!(rotation(&scene.beta).unwrap()["keys"].as_array().unwrap().len(), 1);
    scene.wait_known(OLD, "inForce");
    scene.beta.put(NEW, &good);
    scene.wait_known(NEW, "inForce");
    scene.beta.wait("no finding", |status| finding(status, "invalid_key").is_none().then_some(()));
}
