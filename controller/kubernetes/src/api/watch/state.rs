//! The known objects of one kind, and how reports of the watch and answers to writes change them.
//!
//! Answers and reports may overtake each other. The watch reports in the order of versions. So an
//! answer that is not newer than the last report contains nothing new, and a report that is older
//! than an answer is its echo or was overtaken.
//!
//! The answer to a deletion has no version. Until the watch reports the deletion, all reports about
//! the object are from before it.

use super::{Key, Version, Watch};
use std::collections::{BTreeMap, BTreeSet};

/// The known objects.
pub(super) struct State<T> {
    objects: BTreeMap<Key, Entry<T>>,
    /// What was deleted, but is not reported as deleted yet.
    deleting: BTreeSet<Key>,
    /// The version up to which the watch has reported.
    reported: Version,
    lists: u64,
    listed: bool,
    /// The number of rollbacks before the last list.
    pub(super) rollbacks: u64,
    is_news: fn(&T, &T) -> bool,
    pub(super) failure: Option<String>,
    /// Whether the last failure was that the API server does not have the kind.
    pub(super) is_unknown_kind: bool,
}

struct Entry<T> {
    version: Version,
    kept: T,
}

/// The moment at which a write was sent, counted in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    lists: u64,
}

/// How much a change matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    None,
    Other,
    News,
}

impl Difference {
    fn between<T: PartialEq>(
        before: Option<&T>,
        after: Option<&T>,
        is_news: fn(&T, &T) -> bool,
    ) -> Self {
        match (before, after) {
            (None, None) => Self::None,
            (Some(before), Some(after)) if before == after => Self::None,
            (Some(before), Some(after)) if !is_news(before, after) => Self::Other,
            _ => Self::News,
        }
    }
}

impl<T: Clone + PartialEq> State<T> {
    pub(super) fn new(watch: &Watch<T>) -> Self {
        Self::of(watch.is_news, watch.rollbacks.count())
    }

    pub(super) fn of(is_news: fn(&T, &T) -> bool, rollbacks: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            deleting: BTreeSet::new(),
            reported: Version::default(),
            lists: 0,
            listed: false,
            rollbacks,
            is_news,
            failure: None,
            is_unknown_kind: false,
        }
    }

    pub(super) fn all(&self) -> BTreeMap<Key, T> {
        self.objects.iter().map(|(key, entry)| (key.clone(), entry.kept.clone())).collect()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&T> {
        self.objects.get(key).map(|entry| &entry.kept)
    }

    pub(super) fn keys(&self, which: impl Fn(&Key, &T) -> bool) -> Vec<Key> {
        self.objects
            .iter()
            .filter(|(key, entry)| which(key, &entry.kept))
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub(super) fn is_listed(&self, rollbacks: u64) -> bool {
        self.listed && self.rollbacks == rollbacks
    }

    pub(super) fn is_relisting(&self, rollbacks: u64) -> bool {
        self.lists > 0 && !self.is_listed(rollbacks)
    }

    pub(super) fn reported(&self) -> Version {
        self.reported
    }

    /// Replaces all objects at once, so that no reader sees half a list. The first list is news, even
    /// if it is empty.
    pub(super) fn replace(
        &mut self,
        new: BTreeMap<Key, (Version, T)>,
        version: Version,
    ) -> Difference {
        let entry = |(key, (version, kept))| (key, Entry { version, kept });
        let before = std::mem::replace(&mut self.objects, new.into_iter().map(entry).collect());
        self.deleting.clear();
        self.reported = version;
        self.lists += 1;
        if !std::mem::replace(&mut self.listed, true) {
            return Difference::News;
        }
        let keys = before.keys().chain(self.objects.keys());
        let difference = |key| {
            Difference::between(
                before.get(key).map(|entry| &entry.kept),
                self.get(key),
                self.is_news,
            )
        };
        keys.map(difference).max().unwrap_or(Difference::None)
    }

    /// The known versions belong to a lost past. The known objects stay until there is a new list.
    pub(super) fn rolled_back(&mut self, rollbacks: u64) {
        self.rollbacks = rollbacks;
        self.reported = Version::default();
        self.listed = false;
        // Answers to earlier writes belong to the lost past too.
        self.lists += 1;
    }

    /// The watch has reported everything up to this version.
    pub(super) fn bookmark(&mut self, version: Version) {
        self.reported = version;
    }

    /// The watch reports an object.
    pub(super) fn reports(&mut self, key: Key, version: Version, kept: T) -> Difference {
        self.reported = version;
        let is_from_before =
            self.objects.get(&key).is_some_and(|entry| version.is_before(entry.version));
        if is_from_before || self.deleting.contains(&key) {
            return Difference::None;
        }
        self.put(key, version, kept)
    }

    /// The watch reports a deletion.
    pub(super) fn reports_deletion(&mut self, key: &Key, version: Version) -> Difference {
        self.reported = version;
        self.deleting.remove(key);
        if self.objects.get(key).is_some_and(|entry| version.is_before(entry.version)) {
            // Another object has the name by now.
            return Difference::None;
        }
        let before = self.objects.remove(key);
        Difference::between(before.as_ref().map(|entry| &entry.kept), None, self.is_news)
    }

    pub(super) fn sending(&self) -> Sent {
        Sent { lists: self.lists }
    }

    /// Takes the answer to a write. The change that the write intended is not a difference.
    pub(super) fn wrote(
        &mut self,
        sent: Sent,
        key: Key,
        version: Version,
        kept: T,
        is_meant: impl FnOnce(&T) -> bool,
    ) -> Difference {
        // A list in between may be older or newer than the write; the watch resumes from it and
        // reports the write.
        if sent.lists != self.lists || !self.listed || version.is_within(self.reported) {
            return Difference::None;
        }
        self.deleting.remove(&key);
        let is_meant = is_meant(&kept);
        let was_there = self.objects.contains_key(&key);
        match self.put(key, version, kept) {
            Difference::News if was_there || !is_meant => Difference::News,
            Difference::Other if !is_meant => Difference::Other,
            _ => Difference::None,
        }
    }

    /// Records a deletion by a write. If the object is already unknown, the watch was faster.
    pub(super) fn deleted(&mut self, key: &Key, is_it: impl FnOnce(&T) -> bool) {
        if self.get(key).is_some_and(is_it) {
            self.objects.remove(key);
            self.deleting.insert(key.clone());
        }
    }

    fn put(&mut self, key: Key, version: Version, kept: T) -> Difference {
        let before = self.objects.get(&key).map(|entry| &entry.kept);
        let difference = Difference::between(before, Some(&kept), self.is_news);
        self.objects.insert(key, Entry { version, kept });
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_news(before: &(u8, u8), after: &(u8, u8)) -> bool {
        before.0 != after.0
    }

    fn key(name: &str) -> Key {
        Key { namespace: String::new(), name: name.into() }
    }

    fn version(number: u64) -> Version {
        Version::parse(&number.to_string())
    }

    /// A list at version 10 with `a`, written at version 5.
    fn listed() -> State<(u8, u8)> {
        let mut state = State::of(is_news, 0);
        let list = BTreeMap::from([(key("a"), (version(5), (1, 1)))]);
        assert_eq!(state.replace(list, version(10)), Difference::News, "the first list is news");
        state
    }

    fn wrote(state: &mut State<(u8, u8)>, at: u64, kept: (u8, u8), meant: (u8, u8)) -> Difference {
        let sent = state.sending();
        state.wrote(sent, key("a"), version(at), kept, |kept| *kept == meant)
    }

    #[test]
    fn only_changes_that_matter_are_news() {
        let between = |before, after| Difference::between(before, after, is_news);
        assert_eq!(between(Some(&(1, 1)), Some(&(1, 1))), Difference::None);
        assert_eq!(between(Some(&(1, 1)), Some(&(1, 2))), Difference::Other);
        assert_eq!(between(Some(&(1, 1)), Some(&(2, 1))), Difference::News);
        assert_eq!(between(None, Some(&(1, 1))), Difference::News);
        assert_eq!(between(Some(&(1, 1)), None), Difference::News);
    }

    #[test]
    fn a_list_replaces_everything_at_once() {
        let mut state = State::of(is_news, 0);
        assert_eq!(
            state.replace(BTreeMap::new(), version(1)),
            Difference::News,
            "the first list is news"
        );
        let one = |second| BTreeMap::from([(key("a"), (version(2), (1, second)))]);
        assert_eq!(state.replace(one(1), version(2)), Difference::News);
        assert_eq!(state.replace(one(1), version(3)), Difference::None);
        assert_eq!(state.replace(one(2), version(4)), Difference::Other);
        assert_eq!(
            state.replace(BTreeMap::new(), version(5)),
            Difference::News,
            "what is not listed is gone"
        );
        assert!(state.all().is_empty());
    }

    #[test]
    fn an_intended_answer_and_its_echo_are_not_news() {
        let mut state = listed();
        assert_eq!(wrote(&mut state, 11, (1, 2), (1, 2)), Difference::None);
        assert_eq!(state.get(&key("a")), Some(&(1, 2)));
        assert_eq!(state.reports(key("a"), version(11), (1, 2)), Difference::None);
    }

    #[test]
    fn others_changes_inside_an_answer_are_differences() {
        assert_eq!(
            wrote(&mut listed(), 12, (2, 2), (2, 2)),
            Difference::News,
            "even if it looks as it was meant"
        );
        assert_eq!(wrote(&mut listed(), 12, (1, 3), (1, 2)), Difference::Other);
    }

    #[test]
    fn an_answer_older_than_the_last_report_changes_nothing() {
        let mut state = listed();
        state.reports(key("a"), version(12), (3, 3));
        assert_eq!(wrote(&mut state, 11, (1, 2), (1, 2)), Difference::None);
        assert_eq!(state.get(&key("a")), Some(&(3, 3)));
        assert_eq!(state.reports_deletion(&key("a"), version(13)), Difference::News);
        assert_eq!(wrote(&mut state, 12, (1, 2), (1, 2)), Difference::None);
        assert_eq!(state.get(&key("a")), None, "a deletion is not undone");
    }

    #[test]
    fn a_report_older_than_the_last_answer_changes_nothing() {
        let mut state = listed();
        wrote(&mut state, 12, (1, 2), (1, 2));
        assert_eq!(state.reports(key("a"), version(11), (2, 1)), Difference::None);
        assert_eq!(state.get(&key("a")), Some(&(1, 2)));
    }

    #[test]
    fn a_deletion_is_remembered_until_the_watch_reports_it() {
        let mut state = listed();
        state.deleted(&key("a"), |_| false);
        assert!(state.get(&key("a")).is_some(), "another one of the name");
        state.deleted(&key("a"), |_| true);
        assert_eq!(state.reports(key("a"), version(11), (1, 9)), Difference::None, "from before");
        assert_eq!(state.get(&key("a")), None);
        assert_eq!(state.reports_deletion(&key("a"), version(12)), Difference::None);
        assert_eq!(
            state.reports(key("a"), version(13), (1, 1)),
            Difference::News,
            "somebody made a new one"
        );
        state.reports_deletion(&key("a"), version(14));
        state.deleted(&key("a"), |_| true);
        assert_eq!(
            state.reports(key("a"), version(15), (1, 1)),
            Difference::News,
            "the watch was faster"
        );
    }

    #[test]
    fn a_recreated_object_survives_the_report_of_its_earlier_deletion() {
        let mut state = listed();
        state.deleted(&key("a"), |_| true);
        assert_eq!(wrote(&mut state, 13, (1, 1), (1, 1)), Difference::None);
        assert_eq!(state.reports_deletion(&key("a"), version(12)), Difference::None);
        assert_eq!(state.get(&key("a")), Some(&(1, 1)));
    }

    #[test]
    fn an_answer_to_a_request_from_before_a_list_is_ignored() {
        let mut state = listed();
        let sent = state.sending();
        state.rolled_back(1);
        assert!(!state.is_listed(1));
        state.replace(BTreeMap::from([(key("a"), (version(3), (7, 7)))]), version(4));
        assert!(state.is_listed(1) && !state.is_listed(2));
        state.wrote(sent, key("a"), version(11), (1, 1), |_| true);
        assert_eq!(state.get(&key("a")), Some(&(7, 7)));
        assert_eq!(
            state.reports(key("a"), version(5), (8, 8)),
            Difference::News,
            "small versions are the newest now"
        );
    }

    #[test]
    fn without_numeric_versions_the_last_report_counts() {
        let mut state = listed();
        let sent = state.sending();
        state.wrote(sent, key("a"), Version::parse("abc"), (1, 4), |_| true);
        assert_eq!(state.get(&key("a")), Some(&(1, 4)));
        assert_eq!(state.reports(key("a"), Version::parse("abd"), (1, 5)), Difference::Other);
    }
}
