//! The operators' page of a running controller, and its history over a restart.

use crate::cluster::Cluster;
use crate::running::get;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

fn address(cluster: &Cluster) -> String {
    let admin = fs::read(cluster.path("state/admin.json")).unwrap();
    let admin: Value = serde_json::from_slice(&admin).unwrap();
    admin["address"].as_str().unwrap().to_owned()
}

/// Waits until the history has these texts.
fn wait_changes(cluster: &Cluster, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = get(&address(cluster), "/page/changes?limit=200");
        if expected.iter().all(|text| answer.contains(text)) {
            return;
        }
        assert!(Instant::now() < deadline, "{expected:?} is not in\n{answer}");
        #[expect(clippy::disallowed_methods, reason = "between two looks, with a deadline")]
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_command_says_where_the_page_is() {
    let mut alpha = Cluster::new("alpha");
    let output = alpha.run(&["ui", "--no-browser"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("no controller has run"), "{error}");
    alpha.start();
    let output = alpha.run(&["ui", "--no-browser"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let address = address(&alpha);
    assert_eq!(text, format!("The page is at http://{address}/\n"));
    let page = get(&address, "/");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert!(page.contains("<title>fedgate</title>"), "{page}");
    let output = alpha.run(&["ui", "--port", "7000"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("admin.listen"));
    assert_eq!(alpha.stop(), 0);
}

#[test]
fn the_history_survives_a_restart_and_has_what_changed_meanwhile() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    wait_changes(&alpha, &["the controller started"]);
    alpha.put_service("web");
    let web = "\"about\":\"web.shop.svc.alpha.example:80\",\"text\":\"is exported";
    wait_changes(&alpha, &[web]);
    assert_eq!(alpha.stop(), 0);
    alpha.put_service("stock");
    alpha.start();
    let stock = "\"about\":\"stock.shop.svc.alpha.example:80\",\"text\":\"is exported";
    wait_changes(&alpha, &[web, stock]);
    assert_eq!(alpha.stop(), 0);
}
