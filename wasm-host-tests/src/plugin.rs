//! The configuration of a listener.

use std::rc::Rc;

/// Two plugins on one thread share a VM if these are equal: `vm_id`, VM configuration and code. On
/// Istio the environment counts, too, and it changes with each version of a WasmPlugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VmKey {
    pub(crate) vm_id: Rc<str>,
    pub(crate) vm_configuration: Rc<[u8]>,
}

/// What a plugin's root context is made from. A plugin with an equal key gets the same context,
/// which is not configured again.
#[derive(Debug, Clone)]
pub(crate) struct RootKey {
    pub(crate) root_id: Rc<str>,
    pub(crate) plugin_name: Rc<str>,
    pub(crate) configuration: Rc<[u8]>,
}

/// The Wasm filter's configuration (`envoy.extensions.wasm.v3.PluginConfig`), as far as it is
/// modelled here.
#[derive(Debug, Clone)]
pub struct Plugin {
    pub(crate) vm: VmKey,
    pub(crate) root: RootKey,
    pub(crate) failure_policy: FailurePolicy,
}

/// What happens to new connections after the VM has failed. (`FAIL_OPEN`, under which they pass
/// unfiltered, is not modelled: never use it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// They are closed.
    Closed,
    /// The next connection gets a new VM, at most once per second; until then connections are
    /// closed.
    Reload,
}

impl Plugin {
    /// A plugin with this `root_id` and configuration, in the VM shared by all plugins with a blank
    /// `vm_id`.
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

    /// Puts the plugin in a VM with this `vm_id`.
    pub fn in_vm(mut self, vm_id: &str) -> Self {
        self.vm.vm_id = vm_id.into();
        self
    }

    /// Puts the plugin in a VM of this version. An Istio WasmPlugin has its resource version in the
    /// VM's environment, so each update creates new VMs; an EnvoyFilter keeps them.
    pub fn of_version(mut self, version: &str) -> Self {
        self.vm.vm_configuration = version.as_bytes().into();
        self
    }

    /// Sets the failure policy.
    pub fn failing(mut self, policy: FailurePolicy) -> Self {
        self.failure_policy = policy;
        self
    }
}

/// The rest of a listener: the filters around ours, and what this Envoy supports.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    pub(crate) takes_early_data: bool,
    pub(crate) default_cluster: Rc<str>,
    pub(crate) handshake_property: HandshakeProperty,
    pub(crate) passed_through_key: Option<Rc<str>>,
}

/// What a `set_filter_state` filter before ours writes to `fedgate.handshake`,
/// `on_downstream_tls_handshake`: that is, when the handshake is finished. It delays no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeProperty {
    /// `%DOWNSTREAM_PEER_URI_SAN%`: the URI SANs of the client's certificate, joined by commas, or
    /// `-` if there are none.
    PeerUriSans,
    /// The word `finished`, as from earlier listeners.
    Finished,
    /// There is no such filter.
    Nothing,
}

impl ListenerSettings {
    /// The listener that the controller configures: tcp_proxy has `max_early_data_bytes` and a
    /// black hole as default.
    pub fn current() -> Self {
        Self {
            takes_early_data: true,
            default_cluster: BLACK_HOLE.into(),
            handshake_property: HandshakeProperty::PeerUriSans,
            passed_through_key: None,
        }
    }

    /// Sets what the listener writes when a handshake is finished.
    pub fn writing(self, handshake_property: HandshakeProperty) -> Self {
        Self { handshake_property, ..self }
    }

    /// tcp_proxy has no `max_early_data_bytes`, so it disables reads until the upstream is
    /// connected.
    pub fn without_early_data(self) -> Self {
        Self { takes_early_data: false, ..self }
    }

    /// The listener has no TLS context and forwards the client's data unchanged. tcp_proxy has this
    /// cluster, and a `set_filter_state` filter before ours sets this key when the connection
    /// begins.
    pub fn passing_through(self, key: &str, cluster: &str) -> Self {
        Self {
            takes_early_data: false,
            passed_through_key: Some(key.into()),
            default_cluster: cluster.into(),
            ..self
        }
    }
}

/// The default cluster of a listener's tcp_proxy, which has no endpoint.
pub const BLACK_HOLE: &str = "blackhole";
