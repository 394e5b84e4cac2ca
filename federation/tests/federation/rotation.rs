//! Which peer holds which of our roots and keys, and whether it is safe to go on.

use crate::rig::{Rig, at, dkp, key, name, offered, private, root, root_until};
use fedgate_federation::ObjectRef;
use fedgate_federation::bundle::{Fingerprint, Root};
use fedgate_federation::credentials::{CertificateRole, Validity};
use fedgate_federation::document::PrivateDocument;
use fedgate_federation::federate::{Holding, OurKey, OurRoot, Rotation, Verdict};

/// What each of the two peers says it has in force.
struct Scene {
    rig: Rig,
    sequence: u64,
}

impl Scene {
    /// alpha has an old and a new root, and its gateway's certificate leads to the old one. Nobody
    /// has said anything yet.
    fn new() -> Self {
        let mut rig = Rig::new();
        rig.local.roots = vec![root(), root()];
        let mut scene = Self { rig, sequence: 2 };
        scene.signs_with(&[0], "Cluster");
        scene
    }

    /// The gateway's certificates lead to these roots.
    fn signs_with(&mut self, anchors: &[usize], issued_to: &'static str) {
        let validity = |role, root: Option<&Root>, anchor| Validity {
            role,
            name: "x".to_owned(),
            object: ObjectRef::new(if root.is_none() { issued_to } else { "ConfigMap" }, "x"),
            field: String::new(),
            not_before: at(0),
            not_after: at(1_000_000),
            anchor,
            root: root.map(Root::fingerprint),
        };
        let roots = self.rig.local.roots.iter().enumerate().map(|(index, root)| {
            validity(CertificateRole::Root, Some(root), anchors.contains(&index))
        });
        let leaf = validity(CertificateRole::Leaf, None, false);
        self.rig.local.credentials.validities = roots.chain([leaf]).collect();
    }

    /// The peer says that it has these of our roots and keys in force.
    fn says(&mut self, peer: &str, roots: &[usize], keys: &[u8]) {
        let roots = roots.iter().map(|index| self.rig.local.roots[*index].fingerprint()).collect();
        let keys = keys.iter().map(|seed| key(*seed).public().fingerprint()).collect();
        let mut document = self.document(peer);
        let extension = document.extension.as_mut().unwrap();
        extension.applied_roots = Some(sorted(roots));
        extension.applied_keys = Some(sorted(keys));
        self.rig.absorb(peer, &document, at(5));
    }

    fn document(&mut self, peer: &str) -> PrivateDocument {
        self.sequence += 1;
        let web = offered(&format!("web.shop.svc.{peer}.example"), &[("http", 80)]);
        private(self.sequence, &["192.0.2.9"], vec![web])
    }

    fn is_dkp(&mut self, peer: &str) {
        let document = dkp(self.document(peer));
        self.rig.known(peer).private = None;
        self.rig.absorb(peer, &document, at(5));
    }

    fn rotation(&self) -> Rotation {
        self.rig.federate().rotation
    }

    fn root(&self, index: usize) -> OurRoot {
        let fingerprint = self.rig.local.roots[index].fingerprint();
        let rotation = self.rotation();
        rotation.roots.into_iter().find(|root| root.fingerprint == fingerprint).unwrap()
    }

    fn key(&self, seed: u8) -> OurKey {
        let fingerprint = key(seed).public().fingerprint();
        self.rotation().keys.into_iter().find(|key| key.fingerprint == fingerprint).unwrap()
    }

    #[track_caller]
    fn of_root(&self, index: usize, sign: Verdict, remove: Verdict) {
        let root = self.root(index);
        assert_eq!((root.sign.verdict, root.remove.verdict), (sign, remove), "{root:#?}");
    }

    #[track_caller]
    fn of_key(&self, seed: u8, sign: Verdict, remove: Verdict) {
        let key = self.key(seed);
        assert_eq!((key.sign.verdict, key.remove.verdict), (sign, remove), "{key:#?}");
    }
}

fn sorted(mut fingerprints: Vec<Fingerprint>) -> Vec<Fingerprint> {
    fingerprints.sort();
    fingerprints
}

use Verdict::{No, Unknown, Yes};

#[test]
fn a_root_is_signed_with_once_every_peer_holds_it_and_removed_once_nothing_uses_it() {
    let mut scene = Scene::new();
    scene.says("beta", &[0], &[1]);
    scene.says("gamma", &[0], &[1]);
    scene.of_root(0, Yes, No);
    scene.of_root(1, No, No);
    assert!(!scene.rotation().is_complete());
    assert_eq!(scene.root(1).peers[&name("beta")], Holding::Missing);

    scene.says("beta", &[0, 1], &[1]);
    scene.of_root(1, No, No);
    assert!(scene.root(1).sign.why.contains("gamma"), "{:?}", scene.root(1).sign);
    scene.says("gamma", &[0, 1], &[1]);
    scene.of_root(1, Yes, Yes);
    scene.of_root(0, Yes, No);
    assert!(scene.rotation().is_complete());

    // While some Pods still show the old certificate, both are in use.
    scene.signs_with(&[0, 1], "Cluster");
    scene.of_root(0, Yes, No);
    scene.of_root(1, Yes, No);
    scene.signs_with(&[1], "Cluster");
    scene.of_root(0, Yes, Yes);
    scene.of_root(1, Yes, No);
    // Where there are workloads, their certificates cannot be seen.
    scene.signs_with(&[1], "Pod");
    scene.of_root(0, Yes, Unknown);
}

#[test]
fn a_root_that_signs_too_early_is_told_and_the_old_one_is_not_given_up() {
    let mut scene = Scene::new();
    scene.says("beta", &[0, 1], &[1]);
    scene.says("gamma", &[0], &[1]);
    scene.signs_with(&[1], "Cluster");
    scene.of_root(1, No, No);
    assert!(scene.root(1).sign.why.contains("calls fail there"), "{:?}", scene.root(1).sign);
    scene.of_root(0, Yes, No);
    assert!(!scene.rotation().is_complete());
}

#[test]
fn a_root_is_never_safe_to_remove_while_it_is_needed_or_nothing_is_known() {
    // It is the only one.
    let mut scene = Scene::new();
    scene.rig.local.roots.truncate(1);
    scene.signs_with(&[], "Cluster");
    scene.says("beta", &[0], &[1]);
    scene.says("gamma", &[0], &[1]);
    scene.of_root(0, Yes, No);
    // It is not known what the gateway shows, or it shows what no root has signed.
    let mut scene = Scene::new();
    scene.says("beta", &[0, 1], &[1]);
    scene.says("gamma", &[0, 1], &[1]);
    scene.signs_with(&[], "Cluster");
    scene.of_root(0, Yes, No);
    scene.rig.local.credentials.validities.clear();
    scene.of_root(0, Yes, No);
    assert_eq!(scene.root(0).signs, None);
    // No peer holds it: it is the next one.
    scene.signs_with(&[0], "Cluster");
    scene.says("beta", &[0], &[1]);
    scene.says("gamma", &[0], &[1]);
    scene.of_root(1, No, No);
    // Nothing is known of a peer any more.
    let mut scene = Scene::new();
    scene.says("beta", &[0, 1], &[1]);
    scene.says("gamma", &[0, 1], &[1]);
    scene.signs_with(&[1], "Cluster");
    scene.of_root(0, Yes, Yes);
    scene.rig.known("gamma").private = None;
    scene.of_root(0, No, No);
    assert_eq!(scene.root(0).peers[&name("gamma")], Holding::Unknown);
    assert!(!scene.rotation().is_complete());
}

#[test]
fn an_expired_root_is_held_by_nobody_and_in_nobodys_way() {
    let mut scene = Scene::new();
    scene.rig.local.roots[0] = root_until(2021);
    scene.signs_with(&[1], "Cluster");
    scene.says("beta", &[1], &[1]);
    scene.says("gamma", &[1], &[1]);
    scene.of_root(0, No, Yes);
    assert!(scene.root(0).peers.is_empty() && scene.rotation().is_complete());
    scene.signs_with(&[0], "Cluster");
    scene.of_root(0, No, No);
}

#[test]
fn a_dkp_cluster_cannot_say_which_root_it_holds() {
    let mut scene = Scene::new();
    scene.says("beta", &[0, 1], &[1]);
    scene.is_dkp("gamma");
    assert_eq!(scene.root(1).peers[&name("gamma")], Holding::CannotSay);
    scene.of_root(1, Unknown, Unknown);
    scene.of_root(0, Yes, No);
    scene.signs_with(&[1], "Cluster");
    scene.of_root(0, Unknown, Unknown);
    assert!(scene.rotation().is_complete());
}

#[test]
fn without_peers_nobody_is_in_the_way() {
    let mut scene = Scene::new();
    scene.rig.objects.federations.clear();
    scene.of_root(1, Yes, Yes);
    scene.of_root(0, Yes, No);
    scene.of_key(1, Yes, No);
}

#[test]
fn a_key_signs_once_every_peer_knows_it_and_goes_once_none_needs_it() {
    let mut scene = Scene::new();
    scene.rig.local.other_key = Some(key(2).public());
    scene.says("beta", &[0, 1], &[1, 2]);
    scene.says("gamma", &[0, 1], &[1]);
    scene.of_key(1, Yes, No);
    scene.of_key(2, No, Yes);
    assert!(!scene.rotation().is_complete());
    scene.says("gamma", &[0, 1], &[1, 2]);
    scene.of_key(2, Yes, Yes);
    assert!(scene.rotation().is_complete());

    // Switched while gamma knows only the old key.
    scene.rig.local.authn_key = key(2).public();
    scene.rig.local.other_key = Some(key(1).public());
    scene.of_key(2, Yes, No);
    scene.of_key(1, Yes, Yes);
    scene.says("gamma", &[0, 1], &[1]);
    scene.of_key(2, No, No);
    scene.of_key(1, Yes, No);
    assert!(scene.key(2).sign.why.contains("keep the other key"), "{:?}", scene.key(2).sign);
}

#[test]
fn of_a_dkp_cluster_we_know_by_which_key_it_has_accepted_a_token() {
    let mut scene = Scene::new();
    scene.says("beta", &[0, 1], &[1, 2]);
    scene.is_dkp("gamma");
    scene.rig.local.other_key = Some(key(2).public());
    scene.rig.known("gamma").record_accepted_key(&key(1).public());
    assert_eq!(scene.key(1).peers[&name("gamma")], Holding::InForce);
    assert_eq!(scene.key(2).peers[&name("gamma")], Holding::CannotSay);
    scene.of_key(2, Yes, Yes);
    // After the switch, it still accepts the old one only.
    scene.rig.local.authn_key = key(2).public();
    scene.rig.local.other_key = Some(key(1).public());
    scene.of_key(1, Yes, No);
    scene.rig.known("gamma").record_accepted_key(&key(2).public());
    scene.of_key(1, Yes, Yes);
}
