//! Every code: how bad it is, what it means, and what to do.

use super::Severity;

/// What one code means.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `CS` and four digits. A code never changes its meaning.
    pub code: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// In a few words.
    pub title: &'static str,
    /// What happens, and why it matters.
    pub explanation: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

/// The rule of a code, written in any case.
pub fn explain(code: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.code.eq_ignore_ascii_case(code))
}

macro_rules! rules {
    ($($name:ident $code:ident $severity:ident $title:literal $explanation:literal $fix:literal;)+) => {
        $(
            pub(super) static $name: Rule = Rule {
                code: stringify!($code),
                severity: Severity::$severity,
                title: $title,
                explanation: $explanation,
                fix: $fix,
            };
        )+
        /// Every rule, ordered by code.
        pub static RULES: &[&Rule] = &[$(&$name),+];
    };
}

rules! {
    REFUSED CS0001 Error
        "the set is refused"
        "A file does not parse, or an object is not valid. The server keeps serving the last good set until every such error is repaired."
        "Correct the field that the message names.";
    UNSERVED CS0002 Warning
        "something written has no effect"
        "The kind or field is known and not served, or has no effect beside the others. Traffic flows as if it were not there."
        "Remove it, or find the field that does what was meant.";

    ELSEWHERE CS0003 Note
        "an object that decides nothing here"
        "A Kubernetes cluster makes Pods from it, or has it for other purposes. Who is in the mesh is read from WorkloadEntries and Pods, and who is behind a Service from EndpointSlices, Endpoints or its selector."
        "Nothing, where the Pods themselves are in the set; otherwise give them, or write WorkloadEntries.";

    CONTRADICTION CS0101 Error
        "client and server cannot speak to each other"
        "The client's DestinationRule (or its ServiceEntry's location) and the server port's PeerAuthentication exclude one another: one side speaks TLS and the other plaintext, or both speak TLS that the other does not take. Every connection of the pair fails."
        "Change one of the two places: let the rule use ISTIO_MUTUAL (or remove its tls, so that mutual TLS is automatic), or change the port's mode.";
    FOLLOWED CS0102 Warning
        "a client follows a plaintext port, although its rule asks for ISTIO_MUTUAL"
        "The DestinationRule asks for mutual TLS and the server's port takes plaintext only. Istio breaks this pair without a word; here the client speaks plaintext to that port. With `istioCompatibility: strict` it fails as it does in Istio."
        "Make the port STRICT or PERMISSIVE, or say in a DestinationRule's portLevelSettings that the port is DISABLE.";
    DROPPED_TLS CS0103 Warning
        "a specific rule drops the tls of a wider one"
        "DestinationRules are not inherited: the most specific one for a host counts whole. This one has no tls, so the tls of the wider rule does not hold for its host, and mutual TLS is automatic instead."
        "Repeat the tls settings of the wider rule in the specific one.";
    PORT_DROPS_TLS CS0104 Warning
        "a port's settings drop the rule's tls"
        "portLevelSettings replace a traffic policy as a whole. An entry without tls means that the port has no TLS setting, not the rule's."
        "Repeat the tls settings in the port's entry.";
    NO_TLS_MODE CS0105 Warning
        "tls without a mode is plaintext"
        "Istio takes an absent mode for DISABLE. What looks like TLS settings turns TLS off."
        "Write the mode: ISTIO_MUTUAL, SIMPLE or MUTUAL.";

    DISAGREEMENT CS0106 Error
        "the mesh's configuration and the server disagree"
        "The MeshConfig names another trust domain than the one that this server issues identities of. The server's counts: whoever expects the other one's names refuses every workload, and principals that name it match nobody."
        "Write the server's trust domain into the MeshConfig, or change `trustDomain` in the server's configuration, and add the old one to trustDomainAliases while certificates of it are around.";

    TLS_TWICE CS0107 Error
        "TLS is wrapped in TLS"
        "A gateway that passes TLS through sends it on as it is. A DestinationRule with SIMPLE or MUTUAL for that destination wraps it in TLS of its own, and what is behind finds TLS where it expects a request."
        "Remove the tls of the DestinationRule for that destination, or let the gateway end TLS (SIMPLE, MUTUAL).";
    PLAIN_TO_TLS CS0108 Warning
        "requests go to a port of TLS without it"
        "The gateway ends TLS, or takes plaintext, and the route leads to a port whose protocol is HTTPS or TLS. What is behind expects TLS and gets a plain request."
        "Write a DestinationRule with mode SIMPLE or MUTUAL for that port, or let the gateway pass TLS through; where the port speaks plain HTTP, name it so.";

    SHADOWED CS0201 Warning
        "a policy has no effect, since another one counts"
        "Of several objects of one scope only the oldest counts, and of those without a creation time the first by name."
        "Remove one of the two, or merge them.";
    IGNORED CS0202 Warning
        "a policy is in a place where it means nothing"
        "Istio ignores a PeerAuthentication with a selector in the root namespace."
        "Put it into the namespace of the workloads that it is meant for.";
    SELECTS_NOTHING CS0203 Warning
        "a selector selects nothing"
        "No workload of the namespace has these labels: a policy protects nothing, a service has no endpoints. Most often a typing error."
        "Compare the selector with the workloads' labels.";
    NO_SUCH_PORT CS0204 Warning
        "a port does not exist"
        "portLevelMtls counts in the workload's ports, portLevelSettings in the service's, and targetPort may name a port of the workload. The port written here is none of them."
        "Write the port that is meant; where a Service has a targetPort, portLevelMtls needs that number.";
    EMPTY_SUBSET CS0205 Warning
        "a subset has no endpoints"
        "No endpoint of the service has the subset's labels. Requests that are routed to it fail."
        "Compare the subset's labels with the endpoints'.";
    NO_SUCH_HOST CS0206 Warning
        "a rule's host is nobody's"
        "No Service or ServiceEntry has the host, so that the rule governs nothing. A short name means a Service of the rule's own namespace."
        "Write the full host name, or add the ServiceEntry.";
    UNREACHABLE CS0207 Warning
        "an address cannot be used as written"
        "A name where only an address works, or a wildcard that cannot be resolved. The endpoint is left out."
        "Write an IP address, or `resolution: DNS`.";

    HOST_WITHOUT_ROUTE CS0208 Warning
        "a gateway's host leads nowhere"
        "No VirtualService that names the Gateway has routes for the host that fit its server: requests are answered with 404, connections are closed. HTTP and terminated HTTPS look at `http`, PASSTHROUGH at `tls`, TCP and terminated TLS at `tcp`."
        "Write a VirtualService with that host, the Gateway in its `gateways`, and routes of that kind; it must be in a namespace that the server's hosts let in.";
    UNSERVED_HOST CS0209 Warning
        "a VirtualService's host is served by none of its gateways"
        "The VirtualService names a Gateway, and no server there has the host, or none lets VirtualServices of this namespace have it. Nobody is routed by it."
        "Add the host to a server of the Gateway, with the namespace before it where the server names one.";
    NO_SUCH_SUBSET CS0210 Error
        "a route's subset is none"
        "The route names a subset that no DestinationRule has which governs the gateway for that host. Requests by this route fail."
        "Define the subset in a DestinationRule that the gateway's namespace sees, or correct its name.";
    PORT_NOT_EXPOSED CS0211 Warning
        "no Service leads to a gateway's port"
        "Services lead to the gateway's workload, and none to this port: clients that come by a Service do not reach it. The number is the workload's port, a Service's targetPort."
        "Add the port to the gateway's Service, or write the targetPort's number into the Gateway.";

    SKIPS_VERIFICATION CS0301 Error
        "a peer is not verified, or not by its name"
        "insecureSkipVerify accepts any certificate: whoever is on the path can read and change the traffic, and the client notices nothing. A gateway's MUTUAL without subjectAltNames lets in whoever its authority has certified, for whatever purpose."
        "Remove insecureSkipVerify, and name the authority in caCertificates or credentialName; at a gateway, name its clients in subjectAltNames.";
    SYSTEM_ROOTS CS0302 Warning
        "a server is verified against every public authority"
        "SIMPLE or MUTUAL without caCertificates trusts the system's roots: any of some hundred authorities can vouch for the server."
        "Name the authority in caCertificates, or write `caCertificates: system` to say that this is meant.";
    NO_SERVER_NAMES CS0303 Note
        "a server's names are taken from the host"
        "Without subjectAltNames the server must carry the sni or the host's name."
        "Write subjectAltNames to say which names are meant.";
    NO_CREDENTIAL CS0304 Error
        "a credentialName names a Secret that the client may not have"
        "A credential is looked up in the client's own namespace, since no proxy sees another's Secrets. It is not there: the proxy waits for the Secret, and every connection fails."
        "Put the Secret into the namespace of the clients.";
    NO_SERVER_CREDENTIAL CS0305 Error
        "a server's credentialName names a Secret that cannot be served to it"
        "A Gateway's or Sidecar's credential is looked up in the namespace of the proxy that serves it. It is not there, or lacks what the mode needs, or is not valid: the proxy has no certificate to show, and every handshake fails."
        "Put a Secret with tls.crt and tls.key into the namespace of the workloads, and ca.crt (or a Secret NAME-cacert) for MUTUAL and OPTIONAL_MUTUAL.";

    PLAINTEXT_IN_PRODUCTION CS0401 Warning
        "mutual TLS is turned off in production"
        "The namespace is production by its label (env, environment, stage or tier) or by its name, and DISABLE means that anyone who reaches the port can read, change and make requests."
        "Use STRICT, or PERMISSIVE for as long as clients without a proxy remain.";
    PERMISSIVE_FOR_LONG CS0402 Warning
        "PERMISSIVE has been left for long"
        "PERMISSIVE is for the time of a migration: the port still takes plaintext from anybody."
        "See who still sends plaintext, then set STRICT.";
    UNPROTECTED CS0403 Warning
        "no policy speaks about a workload"
        "Without any PeerAuthentication a port is PERMISSIVE, Istio's default, and takes plaintext from anybody."
        "Write a PeerAuthentication for the root namespace with `mtls: {mode: STRICT}`, or PERMISSIVE to say that it is meant.";

    LONG_LIVED CS0404 Warning
        "workload certificates live for more than a day"
        "Whoever takes a workload's key can use it until its certificate ends. Short lives are what makes that bearable: certificates are renewed by themselves."
        "Set certificates.workloadTtl to 24h or less.";

    INVALID_NOW CS0501 Error
        "a certificate is not valid at this time"
        "It has expired, or is not valid yet. Envoy would take it, and every handshake would fail; the server does not serve it."
        "Renew the certificate and replace the Secret.";
    EXPIRES_SOON CS0502 Warning
        "a certificate expires soon"
        "When it is over, every handshake with it fails."
        "Renew the certificate and replace the Secret.";
    SELF_SIGNED CS0503 Warning
        "a certificate vouches for itself"
        "The first certificate of a chain is its own issuer: nobody can revoke it, and whoever is to trust it must trust this one certificate."
        "Let an authority sign it.";
    KEY_MISMATCH CS0504 Error
        "a certificate and a key do not belong together"
        "Envoy refuses the pair and keeps what it has; the server does not serve it. A chain that does not begin with the leaf looks the same."
        "Put the key of the first certificate into the Secret, and order the chain leaf first.";
    WEAK_KEY CS0505 Error
        "a key or signature is too weak"
        "RSA keys of less than 2048 bits are refused by Envoy, and signatures with SHA-1 or MD5 can be forged."
        "Make a new key, P-256 or RSA with at least 2048 bits, and sign with SHA-256.";
    UNUSABLE_SECRET CS0506 Error
        "a Secret for TLS cannot be used"
        "An entry is missing, or is not PEM. The server does not serve it."
        "Give tls.crt and tls.key, and ca.crt where roots are meant, as PEM.";

    BROKEN_CHAIN CS0507 Error
        "a chain of certificates does not hold together"
        "Each certificate of a chain has to be signed by the next. Here one is not: peers that do not have what is missing refuse it."
        "Put the intermediates after the leaf, in the order of who signed whom.";
    OLD_AUTHORITY CS0508 Note
        "an authority has been signing for more than a year"
        "The longer an authority signs, the more depends on its key, and the less its replacement is practised."
        "Replace it: `countersign rotate root start` for the mesh's own, or another key in the issuer's Secret.";

    UNENFORCED CS0601 Warning
        "an AuthorizationPolicy for a workload without a proxy"
        "A policy is enforced by the workload's own proxy. Where there is none, everybody who reaches the port gets what they ask for."
        "Give the workload a proxy, or keep others away from it by other means.";
    NEVER_IDENTIFIED CS0602 Error
        "identities are asked of a port that takes plaintext only"
        "Principals, namespaces and service accounts are known over mutual TLS only, and the port is DISABLE: an ALLOW rule that asks for one lets nobody pass, and a DENY rule refuses nobody."
        "Make the port STRICT, or write rules that do without identities for it, such as ipBlocks.";
    EVADED_IN_PLAINTEXT CS0603 Warning
        "a DENY rule that plaintext evades"
        "The rule names who is refused by identity, and the port is PERMISSIVE: whoever is named there connects in plaintext, without an identity, and is not refused."
        "Make the port STRICT, or refuse plaintext with a DENY rule for notPrincipals: [\"*\"].";
    HTTP_ON_BYTES CS0604 Warning
        "what is asked of requests means something else on a port of bytes"
        "Hosts, methods, paths, headers and tokens are known of requests only. On a port that carries bytes an ALLOW rule with one of them matches nothing, and a DENY rule is as if it were not written, so that it refuses more. Istio does the same."
        "Name the ports that the rule is for, or declare the port's protocol, such as with the name http-web.";
    NOBODYS_PRINCIPAL CS0605 Warning
        "a principal that no workload has"
        "Certificates are given to the workloads of the policy set. Nobody here has this identity: most often a typing error, or another trust domain."
        "Compare it with the identities that `countersign describe workload` shows.";

    NO_ISSUER CS0606 Error
        "a Certificate's issuer is not there"
        "Nobody signs it: the Secret that it is for stays as it is, or is never made. An Issuer is looked for in the Certificate's own namespace."
        "Write the issuer, or correct issuerRef: its kind is Issuer where none is written.";
    NO_AUTHORITY CS0607 Error
        "an issuer cannot sign"
        "The Secret of a `ca` issuer is not there, or holds no authority that is valid now. Everything that it is to sign waits. An Issuer's Secret is in its own namespace, a ClusterIssuer's in the cluster resource namespace (cert-manager)."
        "Put the authority's certificate and key into the Secret, or write a Certificate with isCA that makes it.";
    SHARED_SECRET CS0608 Error
        "two Certificates are for one Secret"
        "Each would replace what the other has issued. The older one has the Secret, and the other one is not issued."
        "Give each a secretName of its own.";
    ENDS_WITH_AUTHORITY CS0609 Warning
        "a certificate ends with its authority, before its time"
        "Nothing outlives who has signed it. As the authority comes near its end, what it signs gets shorter, and then nothing is signed any more."
        "Renew the authority, or ask for a shorter duration.";
    NO_SUCH_READER CS0610 Warning
        "a Secret names a reader of another namespace that may not refer to it"
        "Across namespaces the annotation countersign.dev/readers is not enough: the namespace of the Secret has to allow references from the reader's, by a ReferenceGrant. The reader gets nothing."
        "Write the ReferenceGrant beside the Secret (from: a Gateway of the reader's namespace, to: the Secret), or take the reader out.";

    DIALECTS CS0701 Warning
        "Istio's policy and Linkerd's speak of one thing, and differ"
        "A PeerAuthentication and Linkerd's policy (a Server, or an annotation) both decide about the port, or a DestinationRule and skip-outbound-ports about the way to it. The stricter of the two counts, and the other one is as if it were not written."
        "Let both say the same, or remove one.";
    TWO_SERVERS CS0702 Error
        "two Servers select one port"
        "Linkerd's webhook refuses the second. Here the older one counts (without creation times the first by name), as in Linkerd's policy controller, and the authorizations of the other let nobody in."
        "Let their selectors differ, or make one of the two.";
    NOBODY_ADMITTED CS0703 Warning
        "a Server lets nobody in"
        "Once a Server selects a port, only what is authorized passes. Nothing authorizes anybody: every connection is refused, over HTTP with 403."
        "Write a ServerAuthorization, or an AuthorizationPolicy, for the Server; or `accessPolicy` in v1beta3.";
    MISPLACED CS0704 Warning
        "an annotation that Linkerd does not read there"
        "Linkerd reads skip-outbound-ports on Pods and Namespaces. On a Service it has an effect here, where the clients of that Service go by it, and none in a cluster that runs Linkerd itself."
        "Nothing, if only this server is to read it; else put the annotation on the clients or their Namespace.";
    LEADS_NOWHERE CS0705 Warning
        "a policy of Linkerd's refers to what is not there"
        "An authorization for a Server that does not exist protects and opens nothing. A required authentication that does not exist is never satisfied: the policy lets nobody in."
        "Write the missing object, or correct the name and namespace.";
    NOBODYS_IDENTITY CS0706 Warning
        "an identity of Linkerd's that no workload has"
        "The name, or the service account, is nobody's of this policy set: most often a typing error, or another trust domain at its end."
        "Compare it with the identities that `countersign describe workload` shows.";
    BOTH_AUTHORIZE CS0707 Note
        "Istio and Linkerd authorize on one port"
        "An AuthorizationPolicy of Istio's and an authorization of Linkerd's both hold for the port: who passes must be let in by both."
        "Nothing, if that is meant; else write it in one of the two.";
    SHORT_CA CS0801 Warning
        "an authority lives too short for what it signs"
        "SPIRE's rule: a successor signs when a sixth of the authority's life is left, seven days at most. A certificate that is to live longer than that may be cut short."
        "Raise ca_ttl to six times default_x509_svid_ttl, or lower default_x509_svid_ttl.";
    INVALID_IDENTITY CS0802 Error
        "a template makes no identity of a workload"
        "What the template of a ClusterSPIFFEID makes of the workload is not a SPIFFE ID, or not a DNS name: most often a label is missing. The workload keeps the identity that it would have without the template."
        "Give the workload what the template asks for, or select only workloads that have it.";
    SHARED_IDENTITY CS0803 Warning
        "workloads of different service accounts have one identity"
        "To every peer and every policy they are the same: whoever trusts one trusts the other."
        "Let the template name what tells them apart, such as .PodMeta.Namespace and .PodSpec.ServiceAccountName.";
    REGISTERS_NOBODY CS0804 Warning
        "a registration fits no workload"
        "No WorkloadEntry and no Pod is what the selectors ask for, so nobody has the identity."
        "Compare the selectors with the labels, namespaces and service accounts that `countersign describe workload` shows.";
    FOREIGN_IDENTITY CS0805 Error
        "an identity outside of the trust domain"
        "This server issues identities of its own trust domain only. The registration is not applied."
        "Write the server's own trust domain into the SPIFFE ID, or {{ .TrustDomain }} into the template.";
    NEEDS_RESTART CS0806 Warning
        "a change that takes effect with the next start"
        "The trust domain, the addresses and the store of a server.conf are read when the server starts. It goes on with what it read then."
        "Restart the server, or take the change back.";
}
