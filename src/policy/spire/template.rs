//! Templates of SPIRE's controller manager: Go's `text/template`, as far as names are made with it.
//!
//! Text, fields of what is known of a workload (`{{ .PodMeta.Namespace }}`), and `index` of its labels (`{{ index .PodMeta.Labels "app" }}`).
//! Whatever else Go's language has (conditions, pipes, functions) is an error at its place: what is not understood must not name anybody.

use std::collections::BTreeMap;

/// A template, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
    Label(Map, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    TrustDomain,
    ClusterName,
    ClusterDomain,
    PodName,
    PodNamespace,
    ServiceAccount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Map {
    Labels,
    Annotations,
}

/// What a template may name. A `WorkloadEntry` counts as a Pod.
#[derive(Clone, Copy, Debug)]
pub struct TemplateData<'a> {
    /// `.TrustDomain`
    pub trust_domain: &'a str,
    /// `.ClusterName`
    pub cluster_name: &'a str,
    /// `.ClusterDomain`
    pub cluster_domain: &'a str,
    /// `.PodMeta.Name`
    pub name: &'a str,
    /// `.PodMeta.Namespace`
    pub namespace: &'a str,
    /// `.PodMeta.Labels`
    pub labels: &'a BTreeMap<String, String>,
    /// `.PodMeta.Annotations`
    pub annotations: &'a BTreeMap<String, String>,
    /// `.PodSpec.ServiceAccountName`
    pub service_account: &'a str,
}

const FIELDS: [(&str, Field); 6] = [
    (".TrustDomain", Field::TrustDomain),
    (".ClusterName", Field::ClusterName),
    (".ClusterDomain", Field::ClusterDomain),
    (".PodMeta.Name", Field::PodName),
    (".PodMeta.Namespace", Field::PodNamespace),
    (".PodSpec.ServiceAccountName", Field::ServiceAccount),
];

const MAPS: [(&str, Map); 2] = [(".PodMeta.Labels", Map::Labels), (".PodMeta.Annotations", Map::Annotations)];

impl Template {
    /// Reads a template. The error says what in it is not known.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = pieces(text)?.into_iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(Ok(Part::Text(text.to_owned()))),
            Piece::Action(action) => action_of(action).transpose(),
        });
        parts.collect::<Result<_, _>>().map(Self)
    }

    /// The text for one workload. A label that it does not have is nothing, as in Go.
    pub fn render(&self, data: &TemplateData<'_>) -> String {
        self.0.iter().map(|part| part.render(data)).collect()
    }
}

impl Part {
    fn render<'a>(&'a self, data: &TemplateData<'a>) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Field(Field::TrustDomain) => data.trust_domain,
            Self::Field(Field::ClusterName) => data.cluster_name,
            Self::Field(Field::ClusterDomain) => data.cluster_domain,
            Self::Field(Field::PodName) => data.name,
            Self::Field(Field::PodNamespace) => data.namespace,
            Self::Field(Field::ServiceAccount) => data.service_account,
            Self::Label(map, key) => {
                let map = if *map == Map::Labels { data.labels } else { data.annotations };
                map.get(key).map_or("", String::as_str)
            }
        }
    }
}

/// What a template of Go's consists of.
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// What is between `{{` and `}}`, without the space around it.
    Action(&'a str),
}

/// Takes a template apart. The error says where it does not end.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find("{{") {
        let (before, action) = (&rest[..start], &rest[start + 2..]);
        let end = action.find("}}").ok_or("an action that begins with `{{` does not end")?;
        let (inside, after) = (&action[..end], &action[end + 2..]);
        // `{{- ` and ` -}}` take the space beside them away.
        let (inside, before) = match inside.strip_prefix("- ") {
            Some(inside) => (inside, before.trim_end()),
            None => (inside, before),
        };
        let (inside, after) = match inside.strip_suffix(" -") {
            Some(inside) => (inside, after.trim_start()),
            None => (inside, after),
        };
        if !before.is_empty() {
            all.push(Piece::Text(before));
        }
        all.push(Piece::Action(inside.trim()));
        rest = after;
    }
    if !rest.is_empty() {
        all.push(Piece::Text(rest));
    }
    Ok(all)
}

fn action_of(text: &str) -> Result<Option<Part>, String> {
    if text.starts_with("/*") && text.ends_with("*/") {
        return Ok(None);
    }
    if let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == text) {
        return Ok(Some(Part::Field(*field)));
    }
    for (name, map) in MAPS {
        if let Some(key) = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'))
            && !key.is_empty()
            && key.chars().all(|sign| sign.is_alphanumeric() || sign == '_')
        {
            return Ok(Some(Part::Label(map, key.to_owned())));
        }
        let indexed = text.strip_prefix("index").map(str::trim_start).and_then(|rest| rest.strip_prefix(name));
        if let Some(key) = indexed.and_then(|rest| quoted(rest.trim())) {
            return Ok(Some(Part::Label(map, key.to_owned())));
        }
    }
    let shown: String = text.chars().take(60).collect();
    if [".NodeMeta", ".NodeSpec"].iter().any(|of_node| text.contains(of_node)) {
        return Err(format!("`{shown}`: nothing is known here of the node that a workload is on"));
    }
    let fields = FIELDS.map(|(name, _)| name).join(", ");
    Err(format!(
        "`{shown}` is not known here: what is, is {fields}, and `index` of .PodMeta.Labels and .PodMeta.Annotations"
    ))
}

/// A Go string without escapes.
fn quoted(text: &str) -> Option<&str> {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('`')).filter(|key| !key.contains(['"', '`', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_rendered() {
        let labels =
            BTreeMap::from([("app".to_owned(), "web".to_owned()), ("example.org/tier".to_owned(), "gold".to_owned())]);
        let annotations = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
        let data = TemplateData {
            trust_domain: "td",
            cluster_name: "c",
            cluster_domain: "cluster.local",
            name: "n",
            namespace: "ns",
            labels: &labels,
            annotations: &annotations,
            service_account: "sa",
        };
        let cases = [
            (
                "spiffe://{{ .TrustDomain }}/ns/{{.PodMeta.Namespace}}/sa/{{ .PodSpec.ServiceAccountName }}",
                "spiffe://td/ns/ns/sa/sa",
            ),
            ("{{ .ClusterName }}.{{ .ClusterDomain }}/{{ .PodMeta.Name }}", "c.cluster.local/n"),
            ("{{ .PodMeta.Labels.app }}{{ index .PodMeta.Labels \"example.org/tier\" }}", "webgold"),
            ("{{ index .PodMeta.Annotations `team` }}[{{ .PodMeta.Labels.none }}]", "blue[]"),
            ("a {{- /* nothing */ -}} b", "ab"),
            ("plain } { text", "plain } { text"),
            ("", ""),
        ];
        for (template, expected) in cases {
            assert_eq!(Template::parse(template).unwrap().render(&data), expected, "{template}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let refused = |text: &str| Template::parse(text).unwrap_err();
        assert!(refused("{{ .NodeMeta.Name }}").contains("nothing is known here of the node"));
        for bad in [
            "{{ .PodMeta.UID }}",
            "{{ if .PodMeta.Name }}x{{ end }}",
            "{{ .PodMeta.Name | upper }}",
            "{{ index .PodMeta.Labels }}",
            "{{ }}",
        ] {
            assert!(refused(bad).contains("is not known here"), "{bad}: {}", refused(bad));
        }
        assert_eq!(refused("a {{ .TrustDomain"), "an action that begins with `{{` does not end");
    }
}
