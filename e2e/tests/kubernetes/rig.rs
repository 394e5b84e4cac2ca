//! The rig itself: what the other tests take for granted.

use anyhow::ensure;
use fedgate_e2e::kubernetes::{ControlPlane, Objects, Options};
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

#[test]
fn the_audit_log_counts_exactly_what_was_written() {
    scenario("audit", async |run: &RunFolder| {
        let start = std::time::Instant::now();
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        eprintln!("started in {:?}", start.elapsed());
        let objects = Objects::new(plane.client());
        let audit = plane.audit();
        objects.apply_file(programs::istio_crds()?).await?;
        eprintln!("crds in {:?}", start.elapsed());
        let writes = audit.writes_by("admin");
        ensure!(writes.len() == 2, "{writes:#?}");
        Ok(())
    });
}
