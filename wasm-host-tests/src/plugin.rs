//! What a listener is configured with.

use crate::vm::{RootKey, VmKey};
use std::rc::Rc;

/// The Wasm filter's configuration (`envoy.extensions.wasm.v3.PluginConfig`), as far as it matters here.
#[derive(Debug, Clone)]
pub struct Plugin {
    pub(crate) vm: VmKey,
    pub(crate) root: RootKey,
    pub(crate) failure_policy: FailurePolicy,
}

/// What happens to new connections when the VM has failed. (`FAIL_OPEN`, under which they pass unfiltered, is not modelled:
/// never use it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// They are closed.
    Closed,
    /// The next one gets a new VM, at most one each second; until then they are closed.
    Reload,
}

impl Plugin {
    /// A plugin with this `root_id` and this configuration, in the VM that all plugins with a blank `vm_id` share.
    pub fn new(root_id: &str, configuration: impl AsRef<[u8]>) -> Self {
        Self {
            vm: VmKey { vm_id: "".into(), vm_configuration: [].into() },
            root: RootKey {
                root_id: root_id.into(),
                plugin_name: "fedgate".into(),
                configuration: configuration.as_ref().into(),
            },
            failure_policy: FailurePolicy::Reload,
        }
    }

    /// In a VM with this `vm_id`.
    pub fn in_vm(mut self, vm_id: &str) -> Self {
        self.vm.vm_id = vm_id.into();
        self
    }

    /// In a VM of this version. A WasmPlugin of Istio has its resource version in the VM's environment, so each update
    /// makes new VMs; an EnvoyFilter keeps them.
    pub fn of_version(mut self, version: &str) -> Self {
        self.vm.vm_configuration = version.as_bytes().into();
        self
    }

    /// With this failure policy.
    pub fn failing(mut self, policy: FailurePolicy) -> Self {
        self.failure_policy = policy;
        self
    }
}

/// The rest of a listener: the filters around ours, and what this Envoy can do.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    pub(crate) takes_early_data: bool,
    pub(crate) default_cluster: Rc<str>,
    pub(crate) handshake_key: Option<Rc<str>>,
    pub(crate) shows_validity: bool,
    pub(crate) passed_through_key: Option<Rc<str>>,
}

impl ListenerSettings {
    /// Envoy 1.40: tcp_proxy has `max_early_data_bytes` and a black hole as default.
    pub fn envoy_1_40() -> Self {
        Self {
            takes_early_data: true,
            default_cluster: BLACK_HOLE.into(),
            handshake_key: None,
            shows_validity: true,
            passed_through_key: None,
        }
    }

    /// Envoy 1.37: the same, without the attribute `connection.peer_certificate_valid`.
    pub fn envoy_1_37() -> Self {
        Self { shows_validity: false, ..Self::envoy_1_40() }
    }

    /// tcp_proxy has no `max_early_data_bytes`, and disables reads until the upstream is connected.
    pub fn without_early_data(self) -> Self {
        Self { takes_early_data: false, ..self }
    }

    /// A `set_filter_state` filter stands before ours and sets this key `on_downstream_tls_handshake`, that is when the
    /// handshake is finished. It holds nobody up.
    pub fn telling_of_handshakes(self, key: &str) -> Self {
        Self { handshake_key: Some(key.into()), ..self }
    }

    /// No TLS context: what the client sends goes on as it is. tcp_proxy has this cluster, and a `set_filter_state` filter before ours
    /// sets this key when the connection begins.
    pub fn passing_through(self, key: &str, cluster: &str) -> Self {
        Self { takes_early_data: false, passed_through_key: Some(key.into()), default_cluster: cluster.into(), ..self }
    }
}

/// The cluster that a listener's tcp_proxy has by default: it has no endpoint.
pub const BLACK_HOLE: &str = "blackhole";
