use std::hint::black_box as bb;
use std::time::Instant;
fn t(n: &str, mut f: impl FnMut()) {
    let s = Instant::now();
    for _ in 0..1_000_000 {
        f()
    }
    println!("{n} {:?}", s.elapsed() / 1_000_000);
}
fn main() {
    let sni = "outbound_.8080_._.payment-gateway-12.orders-billing-77.svc.beta.example";
    let host = "payment-gateway-12.orders-billing-77.svc.beta.example";
    t("sni", || {
        bb(fedgate_core::Sni::parse(bb(sni))).unwrap();
    });
    t("host", || {
        bb(fedgate_core::Hostname::parse(bb(host))).unwrap();
    });
    t("spiffe", || {
        bb(fedgate_core::SpiffeId::parse(bb("spiffe://cluster-7.example/ns/orders-x/sa/payment"))).unwrap();
    });
}
