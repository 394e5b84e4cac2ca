//! Shared data, which outlives VMs and configuration updates.

use crate::abi::Status;
use std::collections::HashMap;
use std::rc::Rc;

/// One map for the process, keyed by `vm_id` and key (proxy-wasm-cpp-host, `shared_data.cc`). All
/// plugins with a blank `vm_id` share one namespace. Entries stay until the last VM of their
/// `vm_id` ends.
#[derive(Debug, Default)]
pub(crate) struct SharedData {
    values: HashMap<(Rc<str>, Vec<u8>), Value>,
    last_cas: u32,
}

/// A value, and the number that it got when it was written.
type Value = (Rc<[u8]>, u32);

impl SharedData {
    pub(crate) fn get(&self, vm_id: &Rc<str>, key: &[u8]) -> Option<Value> {
        self.values.get(&(vm_id.clone(), key.to_vec())).cloned()
    }

    /// `cas` is the number that came with the value when it was read; 0 overwrites any value. A
    /// missing key accepts any `cas`.
    pub(crate) fn set(&mut self, vm_id: &Rc<str>, key: &[u8], value: &[u8], cas: u32) -> Status {
        let scoped_key = (vm_id.clone(), key.to_vec());
        if let Some((_, current)) = self.values.get(&scoped_key)
            && cas != 0
            && cas != *current
        {
            return Status::CasMismatch;
        }
        self.last_cas += 1;
        self.values.insert(scoped_key, (value.into(), self.last_cas));
        Status::Ok
    }

    pub(crate) fn keys(&self, vm_id: &str) -> Vec<Vec<u8>> {
        self.values.keys().filter(|(id, _)| &**id == vm_id).map(|(_, key)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compare_and_swap_rejects_an_outdated_number() {
        let (mut data, vm) = (SharedData::default(), Rc::from(""));
        assert_eq!(data.set(&vm, b"k", b"1", 99), Status::Ok);
        let (value, cas) = data.get(&vm, b"k").unwrap();
        assert_eq!(&*value, b"1");
        assert_eq!(data.set(&vm, b"k", b"2", cas + 1), Status::CasMismatch);
        assert_eq!(data.set(&vm, b"k", b"2", cas), Status::Ok);
        assert_eq!(data.set(&vm, b"k", b"3", cas), Status::CasMismatch);
        assert_eq!(data.set(&vm, b"k", b"3", 0), Status::Ok);
        assert_eq!(&*data.get(&vm, b"k").unwrap().0, b"3");
        assert!(data.get(&Rc::from("other"), b"k").is_none());
    }
}
