//! The fourteen scenes, in order.

mod attack;
mod change;
mod failover;
mod pods;
mod reach;
mod trouble;
mod trust;

use crate::screen::Screen;
use crate::stage::Stage;

/// Plays all scenes. A failed scene does not stop the others.
pub(crate) async fn all(stage: &mut Stage, screen: &mut Screen) {
    let s = screen;
    s.scene(
        "A client in alpha calls beta's web under its own name, through alpha's egress and beta's gateway.",
        "status 200, from beta's back end",
        reach::http(stage),
    )
    .await;
    s.scene(
        "The same for beta's mail, where the server speaks first.",
        "beta's greeting, before the client has said a word",
        reach::server_first(stage),
    )
    .await;
    s.scene(
        "alpha asks beta's gateway for ledger, which has no export label.",
        "closed before the handshake (unknown_service), back end never touched",
        attack::unlabelled(stage),
    )
    .await;
    s.scene(
        "gamma, which is federated too, asks for web, which is exported to alpha only.",
        "refused (not_granted), back end never touched",
        attack::not_granted(stage),
    )
    .await;
    s.scene(
        "An impostor asks for web: a certificate in alpha's name, signed by gamma's CA. Beside it the same attack on a \
         gateway with Envoy's stock validator and both roots.",
        "beta's gateway refuses the certificate in the handshake; the stock gateway lets it in",
        attack::impostor(stage),
    )
    .await;
    s.scene(
        "gamma shows a certificate with two names, gamma's and alpha's, to borrow alpha's grant.",
        "beta's gateway refuses it, back end never touched; the stock gateway lets it in",
        attack::two_names(stage),
    )
    .await;
    s.scene(
        "catalog in beta gets the export label. Nobody touches alpha.",
        "alpha reaches it within 1 s",
        change::label(stage),
    )
    .await;
    s.scene(
        "alpha's grant on mail is removed while a client in alpha has a connection open.",
        "beta's gateway closes it within 2 s of the new table's arrival",
        change::revoke(stage),
    )
    .await;
    s.scene(
        "beta's controller is killed, and then beta's gateway is restarted.",
        "calls go on",
        trouble::controller_down(stage),
    )
    .await;
    s.scene(
        "gamma announces web.shop.svc.beta.example as its own.",
        "alpha drops and reports that name (foreign_name); the rest of gamma stays, and web stays beta's",
        trouble::foreign_name(stage),
    )
    .await;
    s.scene(
        "A broken manifest is put into beta's folder.",
        "it is named with file, field and reason; everything else goes on",
        trouble::broken_manifest(stage),
    )
    .await;
    s.scene(
        "Whoever holds gamma's metadata endpoint swaps gamma's root. beta's IstioFederation says fedgate.dev/root-change: \
         Approve.",
        "beta holds the new root back and goes on with the known one, until an operator approves it",
        trust::swapped_root(stage),
    )
    .await;
    s.scene(
        "A client in alpha asks beta's kafka who leads, and calls the broker's own name. Its Service is exported to alpha \
         only, with fedgate.dev/pods: \"true\".",
        "the Pod kafka-1 answers under its own name; gamma is refused (not_granted)",
        pods::followed(stage),
    )
    .await;
    s.scene(
        "alpha gives one name to its own till and to beta's. Then alpha's till dies, and comes back.",
        "calls go to beta's within 2 s, none fails, and they return to alpha's",
        failover::local_dies(stage),
    )
    .await;
}
