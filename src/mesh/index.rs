//! Finding workloads by label without looking at all of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::workload::Registered;
use crate::policy::LabelSelector;

/// Workload indexes by namespace and by each label pair in it.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    namespaces: HashMap<String, NamespaceIndex>,
}

#[derive(Debug, Default)]
struct NamespaceIndex {
    all: Vec<usize>,
    by_label: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl LabelIndex {
    pub(super) fn new(workloads: &[Arc<Registered>]) -> Self {
        let mut index = Self::default();
        for (position, workload) in workloads.iter().enumerate() {
            let namespace = entry(&mut index.namespaces, &workload.key.namespace);
            namespace.all.push(position);
            for (key, value) in workload.labels.iter() {
                let values = entry(&mut namespace.by_label, key);
                entry(values, value).push(position);
            }
        }
        index
    }

    /// The workloads of `namespace` that `selector` selects. The rarest of its pairs names the candidates.
    pub(super) fn select<'a>(
        &'a self,
        workloads: &'a [Arc<Registered>],
        namespace: &str,
        selector: &'a LabelSelector,
    ) -> impl Iterator<Item = usize> + 'a {
        const NONE: &[usize] = &[];
        let candidates = match self.namespaces.get(namespace) {
            None => NONE,
            Some(index) => selector
                .0
                .iter()
                .map(|(key, value)| index.by_label.get(key).and_then(|it| it.get(value)).map_or(NONE, Vec::as_slice))
                .min_by_key(|positions| positions.len())
                .unwrap_or(&index.all),
        };
        candidates.iter().copied().filter(move |&position| selector.matches(&workloads[position].labels))
    }
}

/// The value of `key`, made if there is none. The key is copied only then: of two thousand workloads few have labels of their own.
fn entry<'m, V: Default>(map: &'m mut HashMap<String, V>, key: &str) -> &'m mut V {
    // `HashMap::entry` takes a key of its own, also where it is not needed.
    if !map.contains_key(key) {
        map.insert(key.to_owned(), V::default());
    }
    map.get_mut(key).expect("it was put there")
}

/// The order in which Istio lets policies of one scope win: the oldest first, then by name, then by namespace.
/// One without a creation time (a file has none) is taken as younger than one with.
pub(super) fn oldest_first<S>(objects: &mut [Arc<crate::policy::Object<S>>]) {
    objects.sort_by(|a, b| age_key(&a.meta).cmp(&age_key(&b.meta)));
}

pub(super) fn age_key(meta: &crate::policy::Metadata) -> (bool, Option<time::OffsetDateTime>, &str, &str) {
    (meta.creation_timestamp.is_none(), meta.creation_timestamp, &meta.name, &meta.namespace)
}
