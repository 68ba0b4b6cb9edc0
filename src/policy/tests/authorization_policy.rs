//! AuthorizationPolicy: what is read, and what is refused as Istio's validation refuses it.

use super::*;

fn policy(spec: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: it\nspec:\n{spec}\n")
}

#[test]
fn every_part_is_read() {
    let (set, warnings) = good(&policy(
        "  selector: {matchLabels: {app: web}}
  action: DENY
  rules:
  - from:
    - source:
        principals: ['cluster.local/ns/a/sa/b', 'cluster.local/ns/*', '*/sa/c', '*']
        notNamespaces: [prod-*]
        ipBlocks: [10.0.0.0/8, '::1']
    - source: {serviceAccounts: [own, other/theirs]}
    to:
    - operation: {ports: ['80'], notPaths: [/health*], methods: [GET], hosts: ['*.example']}
    when:
    - {key: connection.sni, values: [a]}
    - {key: 'request.headers[X-Team]', notValues: ['*']}
  - {}",
    ));
    assert_eq!(warnings, Vec::<String>::new());
    let policy = &set.authorization_policies[0].spec;
    assert_eq!((policy.action, policy.rules.len()), (AccessAction::Deny, 2));
    let rule = &policy.rules[0];
    assert_eq!(rule.at.line, 9);
    assert_eq!(
        rule.from[0][0].values,
        [
            Matcher::Principal(Pattern::Exact("cluster.local/ns/a/sa/b".into())),
            Matcher::Principal(Pattern::Prefix("cluster.local/ns/".into())),
            Matcher::Principal(Pattern::Suffix("/sa/c".into())),
            Matcher::Principal(Pattern::Present),
        ]
    );
    assert_eq!(rule.from[0][1].not_values, [Matcher::Namespace(Pattern::Prefix("prod-".into()))]);
    assert!(matches!(
        rule.from[0][2].values[..],
        [Matcher::SourceIp(Network { prefix: 8, .. }), Matcher::SourceIp(Network { prefix: 128, .. })]
    ));
    let accounts =
        [Matcher::ServiceAccount(None, "own".into()), Matcher::ServiceAccount(Some("other".into()), "theirs".into())];
    assert_eq!(rule.from[1][0].values, accounts);
    assert_eq!(rule.to[0].len(), 4);
    assert_eq!(rule.when[0].values, [Matcher::ServerName(Pattern::Exact("a".into()))]);
    assert_eq!(rule.when[1].not_values, [Matcher::Header("x-team".into(), Pattern::Present)]);
    assert!(policy.rules[1].from.is_empty() && policy.rules[1].to.is_empty() && policy.rules[1].when.is_empty());
    assert!(good(&policy_without_spec()).0.authorization_policies[0].spec.rules.is_empty());
}

fn policy_without_spec() -> String {
    "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\nmetadata: {name: allow-nothing}\n".to_owned()
}

#[test]
fn what_could_not_be_enforced_is_refused() {
    let fault = |spec: &str| bad(&policy(spec));
    assert_eq!(
        fault("  action: CUSTOM\n  provider: {name: a}\n  rules: [{}]"),
        "f.yaml:6: spec.action: CUSTOM asks an external authorizer, which this server does not serve: without it everybody \
         would pass (use ALLOW and DENY, or let the application ask)"
    );
    assert_eq!(
        fault("  targetRefs: [{kind: Gateway, name: a}]"),
        "f.yaml:6: spec.targetRefs: targetRefs select waypoints and gateways of the Gateway API, which this server does not \
         serve (select sidecars by their labels, with selector)"
    );
    assert_eq!(
        fault("  rules:\n  - to:\n    - operation: {paths: ['/a/{*}/b']}"),
        "f.yaml:8: spec.rules[0].to[0].operation.paths: path templates are not served (write out the paths, or use a \"*\" \
         at the beginning or the end)"
    );
}

#[test]
fn what_istio_refuses_is_refused() {
    let fault = |spec: &str| bad(&policy(spec));
    assert_eq!(
        fault("  action: DENY"),
        "f.yaml:1: spec.rules: a DENY policy without rules refuses nobody (an empty rule, `rules: [{}]`, matches everything)"
            .replace("f.yaml:1", "f.yaml:6")
    );
    assert_eq!(
        fault("  action: DENY\n  rules: [{}]\n  provider: {name: a}"),
        "f.yaml:8: spec.provider: a provider is for action CUSTOM only"
    );
    assert_eq!(
        fault("  rules:\n  - from: []"),
        "f.yaml:7: spec.rules[0].from: the list is empty (leave the field out to match everything)"
    );
    assert_eq!(
        fault("  rules:\n  - to: []"),
        "f.yaml:7: spec.rules[0].to: the list is empty (leave the field out to match everything)"
    );
    assert_eq!(
        fault("  rules:\n  - from:\n    - source: {}"),
        "f.yaml:8: spec.rules[0].from[0].source: nothing is asked for (leave it out to match everything)"
    );
    assert!(
        fault("  rules:\n  - to:\n    - {}").contains("f.yaml:8: spec.rules[0].to[0].operation: nothing is asked for")
    );
    assert_eq!(
        fault("  rules:\n  - from:\n    - source: {namespaces: [a], serviceAccounts: [b]}"),
        "f.yaml:8: spec.rules[0].from[0].source: serviceAccounts beside principals or namespaces (a service account has its \
         namespace in it)"
    );
    assert_eq!(
        fault("  rules:\n  - from:\n    - source: {principals: ['']}"),
        "f.yaml:8: spec.rules[0].from[0].source.principals: an empty value"
    );
    assert_eq!(
        fault("  rules:\n  - from:\n    - source: {ipBlocks: [10.0.0.0/33]}"),
        "f.yaml:8: spec.rules[0].from[0].source.ipBlocks: not an IP address or network (an address, or a network such as \
         10.0.0.0/8)"
    );
    assert_eq!(
        fault("  rules:\n  - from:\n    - source: {serviceAccounts: [a/b/c]}"),
        "f.yaml:8: spec.rules[0].from[0].source.serviceAccounts: not a service account (NAME, or NAMESPACE/NAME, without \
         wildcards)"
    );
    assert_eq!(
        fault("  rules:\n  - to:\n    - operation: {ports: ['0']}"),
        "f.yaml:8: spec.rules[0].to[0].operation.ports: \"0\" is not a port: 1 to 65535"
    );
    assert_eq!(
        fault("  rules:\n  - when: [{key: source.principal}]"),
        "f.yaml:7: spec.rules[0].when[0]: source.principal has neither values nor notValues"
    );
    assert_eq!(
        fault("  rules:\n  - when: [{key: source.principle, values: [a]}]"),
        "f.yaml:7: spec.rules[0].when[0].key: unknown attribute \"source.principle\" (did you mean \"source.principal\"?)"
    );
    assert_eq!(
        fault("  rules:\n  - from:\n    - source: {principal: [a]}"),
        "f.yaml:8: spec.rules[0].from[0].source: nothing is asked for (leave it out to match everything)\n\
         f.yaml:8: spec.rules[0].from[0].source: unknown field \"principal\" (did you mean \"principals\"?)"
    );
}

#[test]
fn what_would_never_match_is_refused() {
    let fault = |source: &str| bad(&policy(&format!("  rules:\n  - from:\n    - source: {{{source}}}")));
    assert_eq!(
        fault("principals: ['spiffe://cluster.local/ns/a/sa/b']"),
        "f.yaml:8: spec.rules[0].from[0].source.principals: a principal is written without spiffe:// (write \
         \"cluster.local/ns/a/sa/b\")"
    );
    assert_eq!(
        fault("namespaces: ['a*b']"),
        "f.yaml:8: spec.rules[0].from[0].source.namespaces: not a namespace (one \"*\" may stand at its beginning or its end)"
    );
}

#[test]
fn what_does_nothing_here_is_a_warning() {
    let (_, warnings) = good(&policy("  action: AUDIT\n  rules: [{}]"));
    assert_eq!(
        warnings,
        ["f.yaml:6: spec.action AUDIT has no effect here: it refuses nothing, and nothing is written down"]
    );
    let (set, warnings) = good(&policy("  rules:\n  - from:\n    - source: {requestPrincipals: ['*']}"));
    assert_eq!(
        warnings,
        [
            "f.yaml:8: spec.rules[0].from[0].source.requestPrincipals: tokens are not verified here (RequestAuthentication is \
          not served), so that no request has one"
        ]
    );
    assert_eq!(set.authorization_policies[0].spec.rules[0].from[0][0].values, [Matcher::Token]);
}
