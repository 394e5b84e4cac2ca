//! The events of a connection: the filter chain (our filter and tcp_proxy behind it), and the
//! socket before it.
//!
//! This follows Envoy's `FilterManagerImpl::onContinueReading`. If a filter pauses, the data read
//! so far stays in the buffer, and the next read calls the filter again with all of it. Resuming
//! continues with the filter *behind* it and does not call it again.

use crate::abi::{CONTINUE, CloseType};
use crate::plugin::ListenerSettings;
use crate::process::Clusters;
use crate::stream::{Client, ConnectionId, Ending, Handshake, Route, Stream, TcpProxy, Upstream};
use crate::vm::Vm;
use crate::vm_state::Context;
use std::rc::Rc;

/// Where in the chain to continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Filter,
    TcpProxy,
}

impl Vm {
    /// A client has connected, and its ClientHello has been read.
    pub(crate) fn connect(
        &mut self,
        id: ConnectionId,
        root: u32,
        client: Client,
        listener: Rc<ListenerSettings>,
    ) -> u32 {
        let context = self.allocate_context();
        let stream = Stream::new(id, context, root, client, listener);
        self.state_mut().contexts.insert(context, Context::Stream(Box::new(stream)));
        if let Some(root) = self.state_mut().root_mut(root) {
            root.streams += 1;
        }
        self.read_filters(context, From::Filter);
        context
    }

    /// More of the client's handshake has arrived at the socket.
    pub(crate) fn handshake_arrives(&mut self, context: u32, arrived: Handshake) {
        if let Some(stream) = self.state_mut().stream_mut(context) {
            stream.arrived = stream.arrived.max(arrived);
            self.unsettled.push(context);
        }
    }

    /// The client sends data or ends its half.
    pub(crate) fn client_sends(&mut self, context: u32, data: &[u8], end: bool) {
        if let Some(stream) = self.state_mut().stream_mut(context) {
            stream.unread.extend_from_slice(data);
            stream.unread_end |= end;
            self.unsettled.push(context);
        }
    }

    /// The server sends data or ends its half: tcp_proxy writes it to the client's connection,
    /// through our filter. Data that the filter pauses is lost, because Envoy cannot resume a
    /// write.
    pub(crate) fn server_sends(&mut self, context: u32, data: &[u8], end: bool) {
        let Some(stream) = self.state_mut().stream_mut(context).filter(|stream| stream.is_open())
        else {
            return;
        };
        stream.write_buffer = data.to_vec();
        stream.server_ended |= end;
        let arguments = (context, data.len() as u32, u32::from(end));
        let answer = self.call(context, |exports| &exports.on_upstream_data, arguments);
        if answer.is_none() {
            self.close(context, Ending::ByFailedVm);
        }
        if end {
            // Envoy reports this with the end of the data. It never reports the close of the
            // server's socket.
            self.call(
                context,
                |exports| &exports.on_upstream_close,
                (context, CloseType::Unknown as u32),
            );
        }
        let Some(stream) = self.state_mut().stream_mut(context) else { return };
        let data = std::mem::take(&mut stream.write_buffer);
        match answer == Some(CONTINUE) && stream.is_open() {
            true => stream.to_client.extend(data),
            false => stream.lost_to_client += data.len(),
        }
        self.unsettled.push(context);
    }

    /// The server accepts tcp_proxy's connection.
    pub(crate) fn server_accepts(&mut self, context: u32) {
        let Some(stream) = self.state_mut().stream_mut(context) else { return };
        if let Some(upstream) = &mut stream.tcp_proxy.upstream {
            upstream.connected = true;
            stream.reads_disabled = false;
            self.unsettled.push(context);
        }
    }

    /// The filter has requested to continue.
    pub(crate) fn resume(&mut self, context: u32) {
        self.read_filters(context, From::TcpProxy);
    }

    /// Closes a connection from either side. The filter is notified at once; its context ends with
    /// the event.
    pub(crate) fn close(&mut self, context: u32, ending: Ending) {
        let Some(stream) = self.state_mut().stream_mut(context).filter(|stream| stream.is_open())
        else {
            return;
        };
        stream.ending = Some(ending);
        let notify = stream.filter_started;
        self.dying.push(context);
        if notify {
            let by = if ending == Ending::ByClient { CloseType::Remote } else { CloseType::Local };
            self.call(context, |exports| &exports.on_downstream_close, (context, by as u32));
        }
    }

    /// Ends the contexts of closed connections and returns their streams.
    pub(crate) fn bury(&mut self) -> Vec<Stream> {
        let dying = std::mem::take(&mut self.dying);
        dying.into_iter().filter_map(|context| self.bury_one(context)).collect()
    }

    fn bury_one(&mut self, context: u32) -> Option<Stream> {
        self.call(context, |exports| &exports.on_done, context);
        self.call(context, |exports| &exports.on_log, context);
        self.call(context, |exports| &exports.on_delete, context);
        let Context::Stream(stream) = self.state_mut().contexts.remove(&context)? else {
            return None;
        };
        if let Some(root) = self.state_mut().root_mut(stream.root) {
            root.streams -= 1;
        }
        self.end_unused_root(stream.root);
        Some(*stream)
    }

    /// Advances connections as far as possible without further events: reads what has arrived, and
    /// lets servers accept.
    pub(crate) fn settle(&mut self) {
        while let Some(context) = self.unsettled.pop() {
            self.accept_unless_slow(context);
            self.read_socket(context);
            self.close_when_both_have_ended(context);
        }
    }

    fn accept_unless_slow(&mut self, context: u32) {
        let Some(stream) = self.state().stream(context).filter(|stream| stream.is_open()) else {
            return;
        };
        let waits = stream.tcp_proxy.upstream.as_ref().filter(|upstream| !upstream.connected);
        let slow = |cluster: &str| self.state().process.borrow().clusters.slow.contains(cluster);
        if waits.is_some_and(|upstream| !slow(&upstream.cluster)) {
            self.server_accepts(context);
        }
    }

    /// While reads are disabled nothing is read, not even the handshake. That is the effect of
    /// pausing before a tcp_proxy without early data.
    fn read_socket(&mut self, context: u32) {
        let Some(stream) = self.state_mut().stream_mut(context) else { return };
        if stream.reads_disabled || !stream.is_open() {
            return;
        }
        stream.handshake_goes_on();
        if stream.handshake < Handshake::Finished {
            // An end of stream at this point is a failed handshake.
            if std::mem::take(&mut stream.unread_end) {
                self.close(context, Ending::ByClient);
            }
            return;
        }
        stream.read_buffer.append(&mut stream.unread);
        stream.read_end |= stream.unread_end;
        // The end of stream is read repeatedly but raised only once.
        let new_end =
            stream.read_end && !std::mem::replace(&mut stream.read_end_raised, stream.read_end);
        if !stream.read_buffer.is_empty() || new_end {
            self.read_filters(context, From::Filter);
        }
    }

    fn read_filters(&mut self, context: u32, from: From) {
        if !self.state().stream(context).is_some_and(Stream::is_open) {
            return;
        }
        if from == From::Filter && !self.filter_goes_on(context) {
            return;
        }
        self.start_tcp_proxy(context);
        self.write_upstream(context);
    }

    /// Runs our filter: first for the new connection, then for the data read.
    fn filter_goes_on(&mut self, context: u32) -> bool {
        let Some(stream) = self.state_mut().stream_mut(context) else { return false };
        if !std::mem::replace(&mut stream.filter_started, true) {
            let root = stream.root;
            self.call(context, |exports| &exports.on_context_create, (context, root));
            let answer = self.call(context, |exports| &exports.on_new_connection, context);
            if !self.answered_continue(context, answer) {
                return false;
            }
        }
        let Some(stream) = self.state().stream(context) else { return false };
        let (size, end) = (stream.read_buffer.len() as u32, stream.read_end);
        if size == 0 && !end {
            return true;
        }
        let answer = self.call(
            context,
            |exports| &exports.on_downstream_data,
            (context, size, u32::from(end)),
        );
        self.answered_continue(context, answer)
    }

    /// A connection whose VM has failed is closed, whatever the failure policy.
    fn answered_continue(&mut self, context: u32, answer: Option<u32>) -> bool {
        if answer.is_none() {
            self.close(context, Ending::ByFailedVm);
        }
        answer == Some(CONTINUE) && self.state().stream(context).is_some_and(Stream::is_open)
    }

    fn start_tcp_proxy(&mut self, context: u32) {
        let Some(stream) =
            self.state().stream(context).filter(|stream| stream.tcp_proxy.upstream.is_none())
        else {
            return;
        };
        let route = {
            let clusters: &Clusters = &self.state().process.borrow().clusters;
            TcpProxy::route(&stream.listener.default_cluster, &stream.filter_state, clusters)
        };
        match route {
            Route::Nowhere(ending) => self.close(context, ending),
            Route::To(cluster) => {
                let upstream = Upstream {
                    cluster,
                    connected: false,
                    received: Vec::new(),
                    end_received: false,
                };
                if let Some(stream) = self.state_mut().stream_mut(context) {
                    stream.tcp_proxy.upstream = Some(upstream);
                    self.unsettled.push(context);
                }
            }
        }
    }

    /// tcp_proxy holds early data until the server accepts; this model writes it at once, which
    /// makes no difference here.
    fn write_upstream(&mut self, context: u32) {
        let Some(stream) = self.state_mut().stream_mut(context).filter(|stream| stream.is_open())
        else {
            return;
        };
        if let Some(upstream) = &mut stream.tcp_proxy.upstream {
            upstream.received.append(&mut stream.read_buffer);
            upstream.end_received |= stream.read_end;
        }
    }

    fn close_when_both_have_ended(&mut self, context: u32) {
        let both = |stream: &Stream| {
            stream.server_ended
                && stream.tcp_proxy.upstream.as_ref().is_some_and(|upstream| upstream.end_received)
        };
        if self.state().stream(context).is_some_and(both) {
            self.close(context, Ending::ByServer);
        }
    }
}
