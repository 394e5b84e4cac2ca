//! A cluster's folder with everything that a controller needs, and the program on it. All keys are
//! generated at run time.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Deadline for anything that happens without further action.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) metadata_port: u16,
    pub(crate) root_pem: String,
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
    controller: Option<Child>,
    /// Holds the mounts of [`Cluster::mount_small_disk`].
    disk: Option<Child>,
}

impl Cluster {
    /// A folder with settings and certificates, without manifests.
    pub(crate) fn new(name: &str) -> Self {
        let authority = authority();
        let cluster = Self {
            name: name.to_owned(),
            metadata_port: free_port(),
            root_pem: authority.pem(),
            authority,
            folder: TempDir::new().unwrap(),
            controller: None,
            disk: None,
        };
        for folder in ["identity", "manifests"] {
            fs::create_dir(cluster.path(folder)).unwrap();
        }
        cluster.put("fedgate_filter.wasm", "\0asm");
        cluster.put_identity();
        cluster.put("fedgate.yaml", &cluster.settings());
        cluster
    }

    pub(crate) fn settings(&self) -> String {
        format!(
            "trustDomain: {name}.example
gateway:
  listen: 127.0.0.1:{gateway}
  filterModule: fedgate_filter.wasm
egress:
  ports: {egress}-{egress_end}
metadata:
  listen: 127.0.0.1:{metadata}
  tls: {{certificate: identity/metadata.pem, key: identity/metadata.key}}
identity:
  certificateChain: identity/gateway.pem
  privateKey: identity/gateway.key
  roots: identity/roots.pem
times: {{poll: 1s}}
",
            name = self.name,
            gateway = free_port(),
            metadata = self.metadata_port,
            // The ranges of clusters may overlap: the egress skips ports that are taken.
            egress = xtask::ports::free_range(1).unwrap().start().min(&26_000),
            egress_end = 32_000,
        )
    }

    /// Issues new certificates for the gateway and the metadata endpoint.
    pub(crate) fn put_identity(&self) {
        let uri = format!("spiffe://{}.example/ns/fedgate/sa/gateway", self.name);
        let usage = [KeyUsagePurpose::DigitalSignature];
        self.sign("gateway", SanType::URI(Ia5String::try_from(uri).unwrap()), &usage);
        self.sign("metadata", SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)), &usage);
        self.put("identity/roots.pem", &self.root_pem);
    }

    /// A gateway certificate without key usage, which Envoy's SPIFFE validator refuses.
    pub(crate) fn put_identity_without_usage(&self) {
        let uri = format!("spiffe://{}.example/ns/fedgate/sa/gateway", self.name);
        self.sign("gateway", SanType::URI(Ia5String::try_from(uri).unwrap()), &[]);
    }

    /// A gateway certificate with the given changes.
    pub(crate) fn put_leaf(&self, change: impl Fn(&mut CertificateParams)) {
        let uri = format!("spiffe://{}.example/ns/fedgate/sa/gateway", self.name);
        let mut parameters = CertificateParams::default();
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri).unwrap())];
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.authority).unwrap();
        self.put("identity/gateway.key", &key.serialize_pem());
        self.put("identity/gateway.pem", &certificate.pem());
    }

    fn sign(&self, name: &str, subject: SanType, usage: &[KeyUsagePurpose]) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.key_usages = usage.to_vec();
        parameters.subject_alt_names = vec![subject];
        let certificate = parameters.signed_by(&key, &self.authority).unwrap();
        self.put(&format!("identity/{name}.key"), &key.serialize_pem());
        self.put(&format!("identity/{name}.pem"), &certificate.pem());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces a file by rename. Files with a key are readable by their owner only.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let partial = self.path(".partial");
        #[expect(clippy::disallowed_methods, reason = "it is renamed then, as editors do")]
        fs::write(&partial, text).unwrap();
        if text.contains("PRIVATE KEY") {
            fs::set_permissions(&partial, fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::rename(partial, self.path(name)).unwrap();
    }

    /// An exported Service `shop/NAME` with port 80.
    pub(crate) fn put_service(&self, name: &str) {
        self.put(&format!("manifests/{name}.yaml"), &service(name));
    }

    /// Makes another cluster a peer.
    pub(crate) fn put_peer(&self, peer: &Self) {
        self.put_annotated_peer(peer, &[]);
    }

    /// Does the same, with annotations on the peer's object.
    pub(crate) fn put_annotated_peer(&self, peer: &Self, annotations: &[(&str, &str)]) {
        let annotations: Vec<_> =
            annotations.iter().map(|(name, value)| format!("{name}: \"{value}\"")).collect();
        let ca: String = peer.root_pem.lines().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  \
             trustDomain: {name}.example\n  metadataEndpoint: https://127.0.0.1:{port}/metadata\n  metadata:\n    ca: |\n{ca}",
            name = peer.name,
            annotations = annotations.join(", "),
            port = peer.metadata_port,
        );
        self.put(&format!("manifests/peer-{}.yaml", peer.name), &text);
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the controller with additional environment variables.
    pub(crate) fn start_with(&mut self, environment: &[(&str, &str)]) {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = self.fedgate();
        command.args(["run", "--dir"]).arg(self.folder()).stderr(log).stdout(Stdio::null());
        command.envs(environment.iter().copied());
        self.controller = Some(command.spawn().unwrap());
        self.wait("the controller to answer", |status| Some(()).filter(|()| status.is_object()));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.controller.as_ref().unwrap().id()
    }

    /// Asks the controller to stop. Returns its exit status.
    pub(crate) fn stop(&mut self) -> i32 {
        let stopped = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(stopped.success());
        self.stop_without_asking()
    }

    /// Waits until the controller ends. Returns its exit status.
    pub(crate) fn stop_without_asking(&mut self) -> i32 {
        let mut controller = self.controller.take().unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = controller.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                let _ = controller.kill();
                panic!("the controller does not stop\n{}", self.log());
            }
            #[expect(clippy::disallowed_methods, reason = "between two looks, with a deadline")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The status of the running controller.
    pub(crate) fn status(&self) -> Option<Value> {
        serde_json::from_slice(&self.run(&["status", "--output", "json"]).stdout).ok()
    }

    /// Waits until `found` finds something in the status.
    pub(crate) fn wait<T>(&self, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if let Some(found) = status.as_ref().and_then(&found) {
                return found;
            }
            let status = status.unwrap_or_default();
            assert!(Instant::now() < deadline, "waited for {what}\n{status:#}\n{}", self.log());
            #[expect(clippy::disallowed_methods, reason = "between two looks, with a deadline")]
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a command on the folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let (command, rest) = arguments.split_first().unwrap();
        self.fedgate().arg(command).arg("--dir").arg(self.folder()).args(rest).output().unwrap()
    }

    fn fedgate(&self) -> Command {
        let Some(disk) = &self.disk else { return fedgate() };
        let mut command = Command::new("nsenter");
        command.args([
            "--user",
            "--preserve-credentials",
            "--mount",
            "--target",
            &disk.id().to_string(),
        ]);
        command.arg(env!("CARGO_BIN_EXE_fedgate"));
        command
    }

    /// Puts what the controller writes on its own disk of 256 KiB, in a mount namespace.
    pub(crate) fn mount_small_disk(&mut self) {
        let ready = self.path("disk.ready");
        for folder in ["disk", "state", "envoy"] {
            fs::create_dir(self.path(folder)).unwrap();
        }
        let script = format!(
            "cd {} && mount -t tmpfs -o size=256k none disk && mkdir disk/state disk/envoy \
             && mount --bind disk/state state && mount --bind disk/envoy envoy && touch {} && exec sleep 600",
            self.folder().display(),
            ready.display(),
        );
        let arguments = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
        self.disk = Some(Command::new("unshare").args(arguments).spawn().unwrap());
        let deadline = Instant::now() + DEADLINE;
        while !ready.exists() {
            assert!(
                Instant::now() < deadline,
                "the disk is not mounted; may this user have a user namespace?"
            );
            #[expect(clippy::disallowed_methods, reason = "between two looks, with a deadline")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The path of a file on that disk as seen from outside.
    pub(crate) fn on_disk(&self, name: &str) -> PathBuf {
        let disk = self.path(&format!("disk/{name}"));
        let root = PathBuf::from(format!("/proc/{}/root", self.disk.as_ref().unwrap().id()));
        root.join(disk.strip_prefix("/").unwrap())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(controller) = &mut self.controller {
            let _ = controller.kill();
            let _ = controller.wait();
        }
        if let Some(disk) = &mut self.disk {
            let _ = disk.kill();
            let _ = disk.wait();
        }
    }
}

pub(crate) fn fedgate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fedgate"))
}

pub(crate) fn service(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: shop
  labels: {{federation.istio.deckhouse.io/public-service: ''}}
spec:
  ports: [{{name: http, port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    )
}

pub(crate) fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

fn free_port() -> u16 {
    xtask::ports::free().unwrap().port()
}
