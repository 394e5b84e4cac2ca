//! The rig itself: what the other tests take for granted.

use anyhow::ensure;
use fedgate_e2e::kubernetes::{ControlPlane, Options};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

#[test]
fn the_audit_log_counts_exactly_what_was_written() {
    scenario("audit", async |run: &RunFolder| {
        let start = std::time::Instant::now();
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        eprintln!("started in {:?}", start.elapsed());
        let audit = plane.audit();
        let namespaces: Api<Namespace> = Api::all(plane.client());
        for name in ["one", "two"] {
            let metadata = ObjectMeta { name: Some(name.into()), ..Default::default() };
            namespaces.create(&PostParams::default(), &Namespace { metadata, ..Default::default() }).await?;
        }
        namespaces.get("one").await?;
        let writes = audit.writes_by("admin");
        ensure!(writes.len() == 2, "{writes:#?}");
        Ok(())
    });
}
