//! A map of bounded size, in which the entry that was not used for longest gives way.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Holds at most `capacity` entries.
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by the turn at which they were used last.
    order: BTreeMap<u64, K>,
    capacity: usize,
    turn: u64,
}

struct Entry<V> {
    value: V,
    turn: u64,
}

impl<K: Copy + Eq + Hash, V: Default> Recent<K, V> {
    /// Empty; a capacity of 0 counts as 1.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), capacity: capacity.max(1), turn: 0 }
    }

    /// The entry of `key`, made if there is none, and what gave way to it.
    pub(crate) fn used(&mut self, key: K) -> (&mut V, Option<V>) {
        self.turn = self.turn.wrapping_add(1);
        let displaced = if self.entries.contains_key(&key) { None } else { self.make_room() };
        let turn = self.turn;
        let entry = self.entries.entry(key).or_insert_with(|| Entry { value: V::default(), turn });
        self.order.remove(&entry.turn);
        self.order.insert(turn, key);
        entry.turn = turn;
        (&mut entry.value, displaced)
    }

    /// The entry of `key`, which does not count as using it.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Forgets `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.turn);
        }
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        self.order.clear();
        self.entries.drain().map(|(key, entry)| (key, entry.value))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self) -> Option<V> {
        if self.entries.len() < self.capacity {
            return None;
        }
        let (_, oldest) = self.order.pop_first()?;
        self.entries.remove(&oldest).map(|entry| entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_not_used_for_longest_gives_way() {
        let mut recent = Recent::<u8, u32>::new(2);
        *recent.used(1).0 = 10;
        *recent.used(2).0 = 20;
        assert_eq!(recent.used(1), (&mut 10, None));
        assert_eq!(recent.used(3), (&mut 0, Some(20)));
        assert_eq!((recent.get(&1), recent.get(&2), recent.len()), (Some(&10), None, 2));
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let mut recent = Recent::<u8, u32>::new(2);
        for key in [1, 2, 3] {
            recent.used(key);
        }
        recent.remove(&3);
        recent.remove(&9);
        assert_eq!((recent.len(), recent.order.len()), (1, 1));
        assert_eq!(recent.drain().map(|(key, _)| key).collect::<Vec<_>>(), [2]);
        assert_eq!((recent.len(), recent.order.len()), (0, 0));
    }
}
