//! The registry: every code that Countersign ever gives, in one table. docs/codes.md is this table in Markdown, and a
//! test holds the two together. A number is never used again for something else.

use super::Fault;
use std::fmt;

/// Error codes that go over the wire in a KRB-ERROR, in the spelling of RFC 4120 section 7.5.9.
pub mod krb {
    /// Client's entry in database has expired.
    pub const KDC_ERR_NAME_EXP: i32 = 1;
    /// Server's entry in database has expired.
    pub const KDC_ERR_SERVICE_EXP: i32 = 2;
    /// Client not found in Kerberos database.
    pub const KDC_ERR_C_PRINCIPAL_UNKNOWN: i32 = 6;
    /// Server not found in Kerberos database.
    pub const KDC_ERR_S_PRINCIPAL_UNKNOWN: i32 = 7;
    /// Requested starttime is later than end time.
    pub const KDC_ERR_NEVER_VALID: i32 = 11;
    /// KDC policy rejects request.
    pub const KDC_ERR_POLICY: i32 = 12;
    /// KDC cannot accommodate requested option.
    pub const KDC_ERR_BADOPTION: i32 = 13;
    /// KDC has no support for encryption type.
    pub const KDC_ERR_ETYPE_NOSUPP: i32 = 14;
    /// Client's credentials have been revoked.
    pub const KDC_ERR_CLIENT_REVOKED: i32 = 18;
    /// Password has expired; change password to reset.
    pub const KDC_ERR_KEY_EXPIRED: i32 = 23;
    /// Pre-authentication information was invalid.
    pub const KDC_ERR_PREAUTH_FAILED: i32 = 24;
    /// Additional pre-authentication required.
    pub const KDC_ERR_PREAUTH_REQUIRED: i32 = 25;
    /// A service is not available.
    pub const KDC_ERR_SVC_UNAVAILABLE: i32 = 29;
    /// Integrity check on decrypted field failed.
    pub const KRB_AP_ERR_BAD_INTEGRITY: i32 = 31;
    /// Ticket expired.
    pub const KRB_AP_ERR_TKT_EXPIRED: i32 = 32;
    /// Ticket not yet valid.
    pub const KRB_AP_ERR_TKT_NYV: i32 = 33;
    /// Request is a replay.
    pub const KRB_AP_ERR_REPEAT: i32 = 34;
    /// The ticket isn't for us.
    pub const KRB_AP_ERR_NOT_US: i32 = 35;
    /// Ticket and authenticator don't match.
    pub const KRB_AP_ERR_BADMATCH: i32 = 36;
    /// Clock skew too great.
    pub const KRB_AP_ERR_SKEW: i32 = 37;
    /// Protocol version mismatch.
    pub const KRB_AP_ERR_BADVERSION: i32 = 39;
    /// Invalid msg type.
    pub const KRB_AP_ERR_MSG_TYPE: i32 = 40;
    /// Message stream modified.
    pub const KRB_AP_ERR_MODIFIED: i32 = 41;
    /// MIT's name for a transited list that is not accepted ("illegal cross-realm ticket").
    pub const KRB_AP_ERR_ILL_CR_TKT: i32 = 43;
    /// Specified version of key is not available.
    pub const KRB_AP_ERR_BADKEYVER: i32 = 44;
    /// Service key not available.
    pub const KRB_AP_ERR_NOKEY: i32 = 45;
    /// Mutual authentication failed.
    pub const KRB_AP_ERR_MUT_FAIL: i32 = 46;
    /// Inappropriate type of checksum in message.
    pub const KRB_AP_ERR_INAPP_CKSUM: i32 = 50;
    /// Response too big for UDP; retry with TCP.
    pub const KRB_ERR_RESPONSE_TOO_BIG: i32 = 52;
    /// Generic error.
    pub const KRB_ERR_GENERIC: i32 = 60;
    /// Field is too long for this implementation.
    pub const KRB_ERR_FIELD_TOOLONG: i32 = 61;
    /// No TGT available to validate USER-TO-USER.
    pub const KRB_AP_ERR_NO_TGT: i32 = 67;
    /// The principal is in another realm.
    pub const KDC_ERR_WRONG_REALM: i32 = 68;
    /// The acceptor carries nothing to the KDC of that realm (draft-ietf-kitten-iakerb-03).
    pub const KRB_AP_ERR_IAKERB_KDC_NOT_FOUND: i32 = 85;
    /// The KDC did not answer the acceptor (draft-ietf-kitten-iakerb-03).
    pub const KRB_AP_ERR_IAKERB_KDC_NO_RESPONSE: i32 = 86;
    /// What the KDC remembers of this pre-authentication has expired (RFC 6113 section 5.3).
    pub const KDC_ERR_PREAUTH_EXPIRED: i32 = 90;
    /// The pre-authentication goes on (RFC 6113 section 5.2).
    pub const KDC_ERR_MORE_PREAUTH_DATA_REQUIRED: i32 = 91;
}

struct Row {
    number: u16,
    name: &'static str,
    fault: Fault,
    krb_error: Option<i32>,
    title: &'static str,
    advice: &'static str,
}

/// A stable code, shown as `CS-2003`.
#[derive(Clone, Copy)]
pub struct Code(&'static Row);

impl Code {
    /// The number alone, 1000 to 9999.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.number
    }

    /// The name of the constant in this module.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// Whose move it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        self.0.fault
    }

    /// The error-code of the KRB-ERROR that tells the peer, once an AP-REQ has parsed; `None` means that the connection
    /// ends without a token.
    #[must_use]
    pub const fn krb_error(self) -> Option<i32> {
        self.0.krb_error
    }

    /// What it means, in one sentence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.0.title
    }

    /// What to do about it in general.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        self.0.advice
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Code {}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CS-{:04}", self.0.number)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CS-{:04} {}", self.0.number, self.0.name)
    }
}

macro_rules! codes {
    ($($number:literal $name:ident $fault:ident $krb:expr, $title:literal, $advice:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Code = Code(&Row {
                number: $number,
                name: stringify!($name),
                fault: Fault::$fault,
                krb_error: $krb,
                title: $title,
                advice: $advice,
            });
        )*
        /// Every code there is, by rising number.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

use krb::*;

codes! {
    1001 TOKEN_UNRECOGNISED PeerMisbehaved None,
        "The bytes are no token of a mechanism that is spoken here.",
        "check that the peer speaks Kerberos over GSS-API with the same framing, and that this is the right port";
    1002 TOKEN_MALFORMED PeerMisbehaved None,
        "A token begins as it should but breaks the encoding rules (DER, RFC 4121 header or GSS framing).",
        "the peer is faulty, or something on the way alters bytes; keep a capture and report it to the peer's maker";
    1003 TOKEN_MECH_UNSUPPORTED Mismatch None,
        "The token is framed for a mechanism that is not offered here.",
        "configure the peer to use Kerberos 5 (1.2.840.113554.1.2.2)";
    1004 TOKEN_UNEXPECTED PeerMisbehaved None,
        "A well-formed token that has no place at this point of the handshake.",
        "the peer lost its place in the protocol; let it start again on a new connection";
    1005 USER_TO_USER_UNSUPPORTED Mismatch Some(KRB_AP_ERR_NO_TGT),
        "The peer asks for user-to-user authentication, which is not offered.",
        "let the client get a ticket for the service principal instead of using the service's TGT";

    1101 CHANNEL_BINDINGS_MALFORMED Configuration None,
        "Channel bindings were given in a form that cannot be read.",
        "give the application data in hexadecimal, or cert:FILE with the server's certificate in PEM or DER";
    1102 CERTIFICATE_HASH_UNDEFINED Configuration None,
        "The certificate's signature algorithm has no single hash, so tls-server-end-point is not defined for it.",
        "use a certificate signed with ECDSA or RSA, or give the bindings in hexadecimal";

    1201 NO_COMMON_MECH Mismatch None,
        "The initiator offers no mechanism that is allowed here.",
        "let the client offer Kerberos: it needs a name for the service that the KDC knows, and a ticket";
    1202 NTLM_OFF Policy None,
        "The initiator offers NTLM alone, and NTLM is switched off.",
        "clients fall back to NTLM when Kerberos cannot work: look for a service principal that is not registered, an IP address where a name belongs, a clock that is off, or a client that is not in the domain; allow_ntlm accepts NTLM, which never proves the service";
    1203 NEGOTIATION_REJECTED Mismatch None,
        "The peer ended the negotiation of a mechanism without saying why.",
        "look into the other end's log; often it allows none of the mechanisms that were offered";
    1204 NEGOTIATION_CHOICE PeerMisbehaved None,
        "The acceptor chose a mechanism that was not offered, or did not ask for the proof that the list was not changed.",
        "somebody may be stripping mechanisms from the list: do not trust the connection";
    1205 MECH_LIST_MIC_MISSING PeerMisbehaved None,
        "The proof that nobody changed the list of mechanisms is owed and did not come.",
        "somebody may be stripping mechanisms from the list, or the peer does not know RFC 4178";
    1206 MECH_LIST_MIC_WRONG PeerMisbehaved None,
        "The list of mechanisms that the other end saw is not the one that was sent.",
        "somebody is changing the negotiation on the way: do not trust the connection";

    1301 IAKERB_MALFORMED PeerMisbehaved None,
        "A message for a KDC that was to be carried breaks its layout, or there is too much of it.",
        "the peer is faulty, or speaks IAKERB as MIT did before 1.22, which is another protocol";
    1302 IAKERB_REALM_REFUSED Policy None,
        "A client wants messages carried to a KDC that this service does not serve.",
        "if clients of that realm should log in through this service, add the realm to those that are relayed";
    1303 IAKERB_MESSAGE_REFUSED PeerMisbehaved None,
        "A client wants something carried to a KDC that is no request for a ticket of its realm.",
        "somebody tries to use this service as a way to the KDC; nothing was carried";
    1304 IAKERB_RELAY_FAILED Environment None,
        "The service could not carry a message to a KDC, or no answer came.",
        "look into the service's log: it serves other realms, or its KDC is down";
    1305 IAKERB_TRANSCRIPT PeerMisbehaved Some(KRB_AP_ERR_MODIFIED),
        "What the client said on the way to its ticket is not what arrived here, or the proof of it is missing.",
        "somebody on the path changes messages: do not trust the path";

    2001 SERVICE_KEY_ABSENT Mismatch Some(KRB_AP_ERR_NOT_US),
        "The ticket is for a service whose key is not held here, and no key held here opens it.",
        "export the key of that service into the keytab, or let the client ask for a service that is in it";
    2002 KEYTAB_WITHOUT_KEYS Configuration Some(KRB_AP_ERR_NOKEY),
        "There is no key at all to open tickets with.",
        "export the service's key into the keytab, and check accept_principals";
    2003 KVNO_ABSENT Mismatch Some(KRB_AP_ERR_BADKEYVER),
        "The service's key is held, but not in the version that the ticket was made with.",
        "if the ticket's kvno is lower, the client should get a new ticket, or keep old keys until tickets expire; if higher, export the keytab again";
    2004 ETYPE_KEY_ABSENT Mismatch Some(KRB_AP_ERR_BADKEYVER),
        "The service's key is held, but not of the ticket's etype.",
        "export the keytab again with every etype that the KDC may choose for this service";
    2005 ETYPE_UNKNOWN Mismatch Some(KRB_ERR_GENERIC),
        "The ticket or a key in it is of an etype that is not implemented.",
        "let the KDC issue tickets of etypes 17 to 20";
    2006 ETYPE_NOT_PERMITTED Policy Some(KRB_ERR_GENERIC),
        "The ticket or a key in it is of an etype that the policy does not permit.",
        "give the service AES keys, or name the etype in permitted_enctypes knowing its weakness";
    2007 TICKET_INTEGRITY PeerMisbehaved Some(KRB_AP_ERR_BAD_INTEGRITY),
        "A key of the right principal, version and etype does not open the ticket.",
        "the ticket was altered, or the keytab holds a key from before the last password change under the same kvno: export it again";
    2008 TICKET_MALFORMED PeerMisbehaved Some(KRB_ERR_GENERIC),
        "The ticket opens, but what is inside breaks its encoding rules.",
        "the KDC is faulty; keep the ticket and report it to the KDC's maker";
    2009 TICKET_EXPIRED Mismatch Some(KRB_AP_ERR_TKT_EXPIRED),
        "The ticket's end time has passed.",
        "the client should get a new ticket (kinit); if it just did, compare the clocks";
    2010 TICKET_NOT_YET_VALID Mismatch Some(KRB_AP_ERR_TKT_NYV),
        "The ticket's start time is still to come, or it is postdated and was never validated.",
        "compare this machine's clock with the KDC's; have a postdated ticket validated";
    2011 TRANSITED_REALM_REFUSED Policy Some(KRB_AP_ERR_ILL_CR_TKT),
        "The ticket came through a realm that is not on the path from the client's realm to ours.",
        "name the realms on the way in capaths, or have the KDC check the path";
    2012 AUTHORIZATION_DATA_UNKNOWN Mismatch Some(KRB_ERR_GENERIC),
        "The ticket or authenticator carries a critical authorization-data element that is not understood.",
        "have the element wrapped in AD-IF-RELEVANT if it may be ignored";
    2013 ACCEPT_PRINCIPALS_EXCLUDE Policy Some(KRB_AP_ERR_NOT_US),
        "The service's key is held, but accept_principals does not name that principal.",
        "add the principal to accept_principals, or let the client ask for one that is named";
    2014 ANONYMOUS_CLIENT Policy Some(KRB_ERR_GENERIC),
        "The ticket was issued to nobody in particular (anonymous Kerberos, RFC 8062).",
        "let the client log in as itself: anonymous clients are never let in";

    3001 AUTHENTICATOR_INTEGRITY PeerMisbehaved Some(KRB_AP_ERR_BAD_INTEGRITY),
        "The session key in the ticket does not open the authenticator.",
        "the message was altered, or the sender has the ticket without its session key";
    3002 AUTHENTICATOR_MALFORMED PeerMisbehaved Some(KRB_ERR_GENERIC),
        "The authenticator opens, but what is inside breaks its encoding rules.",
        "the client is faulty; keep a capture and report it to its maker";
    3003 CLIENT_MISMATCH PeerMisbehaved Some(KRB_AP_ERR_BADMATCH),
        "The client named in the authenticator is not the client that the ticket was issued to.",
        "if the client canonicalises names, have it use the name in its ticket";
    3004 CLOCK_SKEW Mismatch Some(KRB_AP_ERR_SKEW),
        "The client's clock and ours differ by more than the permitted skew.",
        "set both clocks (NTP); clock_skew can be raised but opens a longer window for replays";
    3005 REPLAY PeerMisbehaved Some(KRB_AP_ERR_REPEAT),
        "This authenticator was presented before.",
        "a client makes a new authenticator for each connection: if it is yours and did, somebody recorded and sent it again";
    3006 CHECKSUM_ABSENT Policy Some(KRB_AP_ERR_INAPP_CKSUM),
        "The authenticator carries no GSS checksum (type 0x8003), so neither flags nor channel bindings are protected.",
        "let the client use a GSS-API or SSPI library instead of bare krb5_mk_req";
    3007 CHECKSUM_MALFORMED PeerMisbehaved Some(KRB_ERR_GENERIC),
        "The GSS checksum in the authenticator breaks its layout (RFC 4121 section 4.1.1).",
        "the client is faulty; keep a capture and report it to its maker";
    3008 CHANNEL_BINDINGS_MISMATCH PeerMisbehaved Some(KRB_ERR_GENERIC),
        "The client bound itself to another channel than the one that arrived here.",
        "if a proxy ends TLS in between, give its certificate to --channel-bindings; otherwise somebody is relaying";
    3009 CHANNEL_BINDINGS_MISSING Policy Some(KRB_ERR_GENERIC),
        "The client bound itself to no channel where a binding is owed.",
        "update the client, or do not require channel bindings";
    3010 MUTUAL_NOT_REQUESTED Policy Some(KRB_AP_ERR_MUT_FAIL),
        "The client did not ask for mutual authentication, which is required of every client.",
        "let the client request GSS_C_MUTUAL_FLAG (ISC_REQ_MUTUAL_AUTH)";
    3011 TARGET_NAME_MISMATCH PeerMisbehaved Some(KRB_AP_ERR_NOT_US),
        "The client meant to reach a service that accept_principals does not name.",
        "if clients reach this service by that name, add it to accept_principals; if none does, somebody is relaying";
    3012 DCE_STYLE_UNSUPPORTED Mismatch Some(KRB_ERR_GENERIC),
        "The client asks for the three-leg DCE style, which is not offered here.",
        "let the client leave out GSS_C_DCE_STYLE (ISC_REQ_USE_DCE_STYLE)";
    3013 REPLAY_STORE_FULL Environment Some(KRB_ERR_GENERIC),
        "The replay store is full of unexpired entries, so a new authenticator cannot be told from a replay.",
        "raise the store's capacity: it must hold all handshakes of two skews and a minute";
    3014 REPLAY_CLIENT_SHARE_USED Policy Some(KRB_ERR_GENERIC),
        "One client principal fills its whole share of the replay store.",
        "let this client keep connections open, or raise the store's capacity (a client may hold a sixteenth)";
    3015 REPLAY_HORIZON Mismatch Some(KRB_ERR_GENERIC),
        "The authenticator is from a time about which the replay store has already forgotten.",
        "this machine's clock was set back: leave it alone for some minutes, or restart the service once the clock is right";
    3016 REPLAY_STORE_UNAVAILABLE Environment Some(KRB_ERR_GENERIC),
        "The replay store did not answer, so a fresh authenticator cannot be told from a replay.",
        "bring the replay store back";
    3017 CLIENT_NOT_ALLOWED Policy Some(KRB_ERR_GENERIC),
        "The client proved who it is, and the policy or the program says no to it.",
        "add the client to the allow list if it should have access";
    3018 REPLAY_STORE_CHANGED Environment Some(KRB_ERR_GENERIC),
        "The shared replay store was restarted or another took its place, so entries of this time may be lost.",
        "nothing: clients are let in again two skews after the change; persistence does not shorten that, fewer restarts do";

    3101 NTLM_MESSAGE_MALFORMED PeerMisbehaved None,
        "A client's NTLM message breaks its layout (MS-NLMP section 2.2.1).",
        "the client is faulty, or something on the way alters bytes; keep a capture and report it to the client's maker";
    3102 NTLM_CLIENT_TOO_WEAK Mismatch None,
        "The client does not offer all that makes NTLM bearable: Unicode, signing, extended session security, 128-bit keys, key exchange.",
        "let the client use NTLMv2 with session security, or better Kerberos";
    3103 NTLM_FLAGS_ADDED PeerMisbehaved None,
        "The client's last NTLM message claims a protection of messages that was not offered to it.",
        "the client is faulty, or somebody alters its messages; keep a capture";
    3104 NTLM_ANONYMOUS Policy None,
        "The client logs in as nobody.",
        "let the client use an account: anonymous clients are never let in";
    3105 NTLM_OLD_RESPONSE Policy None,
        "The client proves itself with LM or NTLMv1.",
        "set the client to NTLMv2 only (LmCompatibilityLevel 3 or more)";
    3106 NTLM_PROOF_WRONG PeerMisbehaved None,
        "The client's proof is not made with the password of that account, or there is no such account.",
        "check user, domain and password at the client; if nobody mistyped, somebody tries passwords";
    3107 NTLM_ACCOUNTS_UNAVAILABLE Environment None,
        "The account source did not answer, or not with what is needed, so a proof cannot be told from a guess.",
        "bring the account source back (for a domain: winbind and a domain controller)";
    3108 NTLM_GUEST Policy None,
        "The account source does not know the client, and would let it in as a guest.",
        "give the client an account, and disable guest logons at the account source";
    3109 NTLM_TARGET_NAME_MISMATCH PeerMisbehaved None,
        "The client meant to reach another service than this one.",
        "somebody is relaying, or an alias is missing: add the SPN that the client uses to those accepted";
    3110 NTLM_MIC_MISSING Policy None,
        "The client protects its messages with no MIC, so nobody can tell whether they were altered.",
        "update the client: Windows since Vista sends it when the server sends its time, as this one does; gss-ntlmssp sends it inside SPNEGO only";
    3111 NTLM_MIC_WRONG PeerMisbehaved None,
        "The messages of the handshake are not those that the client saw or sent: they were altered on the way.",
        "somebody sits between the two: do not trust the path";
    3112 NTLM_NAMES_UNUSABLE Configuration None,
        "The names that this server is to give itself do not fit into an NTLM message.",
        "give it shorter names";

    4001 KRB_ERROR_RECEIVED Mismatch None,
        "The service answered with a KRB-ERROR. It is not authenticated: anybody on the way can have made it.",
        "look into the service's own log, where the same moment has the cause";
    4002 AP_REP_INTEGRITY PeerMisbehaved None,
        "The AP-REP is not made with our session key: whoever sent it does not hold the service's key.",
        "this is not the service it claims to be, or the reply was altered: do not trust the connection";
    4003 AP_REP_MISMATCH PeerMisbehaved None,
        "The AP-REP answers another AP-REQ than ours.",
        "somebody sends a recorded answer: do not trust the connection";
    4004 AP_REP_MALFORMED PeerMisbehaved None,
        "The AP-REP opens, but what is inside breaks its encoding rules.",
        "the service is faulty; keep a capture and report it to its maker";
    4005 SERVICE_NEVER_PROVED PeerMisbehaved None,
        "The connection ended before the service proved who it is.",
        "look into the service's own log; if it has no entry, something else answers on that port";
    4006 TICKET_FOR_SERVICE_ABSENT Configuration None,
        "The credential cache holds no ticket for the service.",
        "get one with kvno CLASS/HOST, or name the cache with --ccache";
    4007 CACHED_TICKET_EXPIRED Configuration None,
        "The service ticket in the credential cache is not valid now.",
        "get a new one: kinit, then kvno CLASS/HOST";
    4008 CACHED_TICKET_ETYPE Configuration None,
        "The service ticket in the credential cache has a session key of an etype that is not permitted or not known.",
        "permit the etype, or have the KDC issue session keys of etypes 17 to 20";
    4009 REPLY_SUBKEY_ETYPE PeerMisbehaved None,
        "The service chose a subkey of an etype that we did not offer.",
        "the service is faulty or somebody weakens the connection: do not trust it";
    4010 CLOCK_SKEW_REPORTED Mismatch None,
        "The service says that our clock is off, and its own time lies outside the ticket's life or a retry was refused too.",
        "set both clocks (NTP)";

    4101 NTLM_CHALLENGE_MALFORMED PeerMisbehaved None,
        "The server's NTLM challenge breaks its layout (MS-NLMP section 2.2.1.2).",
        "the server is faulty, or something on the way alters bytes; keep a capture and report it to the server's maker";
    4102 NTLM_SERVER_TOO_WEAK Mismatch None,
        "The server does not offer all that makes NTLM bearable: Unicode, signing, sealing, extended session security, 128-bit keys, key exchange.",
        "update the server, or better reach it by Kerberos; if it is up to date, somebody weakens the connection";
    4103 NTLM_TARGET_INFO_ABSENT Mismatch None,
        "The server's NTLM challenge carries no target info, without which there is no NTLMv2.",
        "update the server: NTLMv1 is not spoken here";
    4104 NTLM_CREDENTIAL_UNUSABLE Configuration None,
        "The account to log in with by NTLM has no name, or one that does not fit into a message.",
        "name a user as DOMAIN\\user";

    5001 MESSAGE_MALFORMED PeerMisbehaved None,
        "A protected message is not a token of RFC 4121 (or of RFC 4757, with RC4).",
        "the peer sends something else than protected messages: check that both ends use the same framing";
    5002 MESSAGE_INTEGRITY PeerMisbehaved None,
        "A protected message was altered, or made with another key.",
        "do not trust the connection: somebody is changing it";
    5003 MESSAGE_DIRECTION PeerMisbehaved None,
        "A protected message carries the direction flag of our own side: it is one of ours, sent back.",
        "do not trust the connection: somebody reflects messages";
    5004 MESSAGE_WRONG_KEY_FLAG PeerMisbehaved None,
        "A protected message is not made with the key that both ends agreed on (AcceptorSubkey flag).",
        "the peer is faulty or somebody mixes messages of two keys";
    5005 MESSAGE_NOT_SEALED Policy None,
        "A message came signed but in clear text, where confidentiality is required.",
        "let the peer request confidentiality and wrap with it";
    5006 MESSAGE_REPLAYED PeerMisbehaved None,
        "A protected message came a second time.",
        "do not trust the connection: somebody repeats messages";
    5007 MESSAGE_OUT_OF_ORDER PeerMisbehaved None,
        "A protected message came out of order, or one before it is missing.",
        "do not trust the connection: somebody removes or reorders messages";
    5008 MESSAGE_TOO_LONG Caller None,
        "A message is longer than one protected message may be.",
        "split it, or raise max_message at both ends";
    5009 SEQUENCE_EXHAUSTED Environment None,
        "The sequence number of a direction has reached its end.",
        "open a new connection";
    5010 PSEUDO_RANDOM_NOT_DEFINED Caller None,
        "Pseudo-random bytes were asked for of a context that has none: NTLM defines no function for them.",
        "let protocols that need a key of the session be used with Kerberos alone";
    5011 PSEUDO_RANDOM_TOO_LONG Caller None,
        "More pseudo-random bytes were asked for than a context gives out at once.",
        "ask for a key, and make of it what has to be longer";

    6001 KDC_CLIENT_UNKNOWN Mismatch None,
        "The KDC does not know the client principal.",
        "check the spelling of the name and of the realm, in which upper and lower case differ; --enterprise for a name that has the form of a mail address";
    6002 KDC_SERVICE_UNKNOWN Mismatch None,
        "The KDC does not know the service principal.",
        "check the spelling: the host's full name, no address; if it is right, register the service at the KDC, or name its realm";
    6003 KDC_PREAUTH_FAILED Mismatch None,
        "The KDC says that the password or key is wrong.",
        "type the password again, or export the keytab again; several wrong tries may lock the account";
    6004 KDC_CLIENT_REVOKED Mismatch None,
        "The account is locked, disabled, or has expired.",
        "ask whoever administers the realm to enable the account";
    6005 KDC_PASSWORD_EXPIRED Mismatch None,
        "The password has expired.",
        "change it (kpasswd), then try again";
    6006 KDC_POLICY Mismatch None,
        "The KDC's policy says no.",
        "look into the KDC's log, where the same moment has the cause";
    6007 KDC_ETYPE_NOSUPP Mismatch None,
        "The KDC has no key of an etype that is permitted here.",
        "give the principal AES keys (change its password), or name the etype in permitted_enctypes knowing its weakness";
    6008 KDC_CLOCK_SKEW Mismatch None,
        "The KDC's clock and ours differ by more than it permits.",
        "set this machine's clock (NTP)";
    6009 KDC_ERROR Mismatch None,
        "The KDC refused the request.",
        "look into the KDC's log, where the same moment has the cause";
    6010 KDC_REPLY_MALFORMED PeerMisbehaved None,
        "The KDC's answer breaks its encoding rules.",
        "check that a KDC answers at that address; if one does, it is faulty, or something on the way alters bytes";
    6011 KDC_REPLY_INTEGRITY PeerMisbehaved None,
        "The KDC's answer is not under the key that the client and the KDC share.",
        "the password or key is another than the KDC's, or the answer does not come from the KDC: do not trust it";
    6012 KDC_REPLY_MODIFIED PeerMisbehaved None,
        "The KDC's answer is not the answer to this request.",
        "somebody sends recorded or altered answers, or the KDC is faulty: keep a capture";
    6013 KDC_REPLY_ETYPE Policy None,
        "The KDC's answer uses an etype that was not asked for.",
        "give the principals AES keys, or name the etype in permitted_enctypes knowing its weakness";
    6014 PREAUTH_UNSUPPORTED Mismatch None,
        "The KDC demands a pre-authentication that is not spoken here, or not permitted.",
        "SPAKE, encrypted timestamp and, with FAST, encrypted challenge are spoken: allow one of them at the KDC, or give FAST a ticket for its armor; a login through the service takes an encrypted timestamp only with --allow-encrypted-timestamp";
    6015 FAST_STRIPPED PeerMisbehaved None,
        "An answer to an armored request came without armor.",
        "the KDC does not speak FAST, or somebody forges its answers: do not trust it";
    6016 REFERRAL_ASTRAY Mismatch None,
        "The KDCs send the request from realm to realm without an end.",
        "the trust between the realms is misconfigured: name the service's realm, or its path in capaths";
    6017 CLIENT_KEY_ABSENT Configuration None,
        "The keytab has no key of the client that could be used.",
        "export the key of that principal into the keytab";
    6018 CREDENTIAL_ABSENT Configuration None,
        "There is no ticket-granting ticket and nothing to get one with.",
        "log in: countersign ticket get --user NAME@REALM, or --user with connect";
    6019 KDC_EXCHANGE_TOO_LONG PeerMisbehaved None,
        "The KDC asks for more and more without coming to an end.",
        "the KDC is faulty, or somebody forges its answers";
    6020 CLIENT_REALM_ABSENT Configuration None,
        "The client is named without a realm, and there is no default realm.",
        "write NAME@REALM, or set default_realm in krb5.conf";
    6021 PASSWORD_UNUSABLE Configuration None,
        "The password cannot be made into the key that the KDC asks for.",
        "if somebody poses as the KDC the wish may be forged; otherwise give the principal another salt or iteration count";

    6101 KDC_NOT_CONFIGURED Configuration None,
        "No KDC is known for the realm.",
        "name one in krb5.conf ([realms], kdc = HOST), or register _kerberos SRV records in the DNS; check the realm's spelling";
    6102 KDC_UNREACHABLE Environment None,
        "No KDC of the realm can be reached.",
        "check that a KDC runs at these addresses, and that no firewall is between (port 88, UDP and TCP); where the service carries logins, connect --iakerb needs no KDC";
    6103 KDC_NO_ANSWER Environment None,
        "No KDC of the realm answers in time.",
        "check that a KDC runs at these addresses, and that no firewall is between (port 88, UDP and TCP)";
    6104 KDC_ANSWER_UNUSABLE Environment None,
        "Something answers at the KDCs' addresses, but not as a KDC answers this request.",
        "check that the addresses and ports are those of KDCs; if they are, look into the KDC's log";
    6105 KKDCP_FAILED Environment None,
        "The HTTPS proxy does not lead to a KDC.",
        "check the proxy's URL and certificate (http_anchors), and look into its log";
    6106 KDC_LOOKUP_FAILED Environment None,
        "The DNS does not answer where the realm's KDCs are.",
        "check the name servers, or name the KDCs in krb5.conf ([realms], kdc = HOST)";
    6107 KDC_UNAVAILABLE Environment None,
        "The KDCs say that they cannot serve requests now.",
        "look into the KDC's log: often its database cannot be reached";

    7001 KEYTAB_UNREADABLE Configuration None,
        "The keytab cannot be opened or read.",
        "check the path, and that the program's user may read it";
    7002 KEYTAB_MALFORMED Configuration None,
        "The file is no keytab of format 0x502, or is cut short.",
        "export the keytab again (kadmin ktadd, ktutil, samba-tool domain exportkeytab)";
    7003 CCACHE_UNREADABLE Configuration None,
        "The credential cache cannot be opened or read.",
        "log in with kinit, or name the cache with --ccache";
    7004 CCACHE_MALFORMED Configuration None,
        "The file is no credential cache of version 4, or is cut short.",
        "log in again with kinit; caches of versions 1 to 3 are not read";
    7005 PRINCIPAL_MALFORMED Configuration None,
        "A principal name cannot be read.",
        "write CLASS/HOST@REALM; put a backslash before a slash, an at sign or a backslash that belongs to a name";
    7006 KEY_MALFORMED Configuration Some(KRB_AP_ERR_BADKEYVER),
        "A key's length is not the length that its etype has.",
        "export the key again";

    7007 NTLM_ACCOUNTS_UNREADABLE Configuration None,
        "The file of NTLM accounts cannot be read, or a line of it is no account.",
        "write it with countersign ntlm add --file F --user 'DOMAIN\\user' --password-file F";
    7008 NTLM_ACCOUNTS_EXPOSED Configuration None,
        "Others may read the file of NTLM accounts: an NT hash is as good as the password.",
        "chmod 600 the file, and change the passwords that others may have read";
    7009 PASSWORD_UNREADABLE Configuration None,
        "The file with a password cannot be read, or holds none.",
        "name a file whose first line is the password";
    7010 KRB5_CONF_UNREADABLE Configuration None,
        "A file of the Kerberos configuration, or one that it includes, cannot be read.",
        "check the path and the include line that names it, and that the program's user may read it";
    7011 KRB5_CONF_MALFORMED Configuration None,
        "A line of the Kerberos configuration breaks its syntax, or has a value that cannot be read.",
        "correct the line, as krb5.conf(5) describes it";

    7015 CCACHE_UNWRITABLE Configuration None,
        "The credential cache cannot be written, made or destroyed.",
        "check the folder, its free space and whose file it is, or name another cache with --ccache";
    7016 CCACHE_TYPE_UNSUPPORTED Configuration None,
        "The credential cache is of a type that is not implemented, or its name cannot be read.",
        "name a cache of type FILE, DIR or MEMORY with --ccache or in KRB5CCNAME, such as FILE:/tmp/tickets";
    7017 KEYTAB_UNWRITABLE Configuration None,
        "The keytab cannot be written.",
        "check the folder, its free space and whose file it is";
    7018 KEYTAB_ENTRY_ABSENT Configuration None,
        "No entry of the keytab is what was asked for.",
        "look at what there is with countersign keytab list";

    7101 REALM_UNREADABLE Configuration None,
        "The folder of a realm, or a file in it, cannot be read or written.",
        "check the path, its free space, and that the program's user may write there";
    7102 REALM_ABSENT Configuration None,
        "The folder holds no realm.",
        "make one: countersign realm init --realm DIR NAME.OF.REALM";
    7103 REALM_EXISTS Configuration None,
        "The folder holds a realm already.",
        "name another folder; nothing was changed";
    7104 REALM_EXPOSED Configuration None,
        "Others may read or change the files of a realm: whoever has its keys can be anybody in it.",
        "give the folder mode 0700 and the files 0600, and make a new realm if others may have read the master key";
    7105 REALM_IN_USE Configuration None,
        "Another process serves the realm, and only one can.",
        "end that process, or have clients use it";
    7106 REALM_DAMAGED Configuration None,
        "The database of a realm holds something that was not put there.",
        "restore the folder from a copy: somebody changed the file, or the disk did";
    7107 REALM_TOO_NEW Configuration None,
        "The database of a realm was made by a later version of this program.",
        "use that version: this one does not know what it would overlook";
    7108 MASTER_KEY_WRONG Configuration None,
        "The master key is not the one that the realm's keys are sealed under.",
        "name the file that was written when the realm was made (--master-key-file); without it the keys are lost";
    7109 ACCOUNT_NAME_UNUSABLE Configuration None,
        "No account of a realm can have that name.",
        "choose another name";
    7110 ACCOUNT_EXISTS Configuration None,
        "There is an account, or another name of one, by that name.",
        "choose another name, or remove the one that there is";
    7111 ACCOUNT_ABSENT Configuration None,
        "The realm has no account by that name.",
        "check the spelling, in which upper and lower case differ";
    7112 ACCOUNT_UNFIT Configuration None,
        "What was asked for cannot be done with an account of that kind.",
        "users have passwords, services have keytabs, and the realm cannot be without its own account";
    7113 PASSWORD_TOO_WEAK Configuration None,
        "The password is too easy to guess.",
        "choose another, or have one made by chance (--random-password)";
    7114 ADMINISTRATION_FAILED Configuration None,
        "The process that serves the realm cannot be asked to change it.",
        "look into that process's log; run the command as the user that it runs as, or as root";

    7201 REPLAY_STORE_UNREADABLE Configuration None,
        "The folder of the replay store, or a file in it, cannot be made, read or changed.",
        "check the path, the owner and the space left: the folder must belong to the user that the service runs as";
    7202 REPLAY_STORE_IN_USE Configuration None,
        "Another process keeps its replay store in that folder.",
        "give each instance a folder of its own; instances behind one name share a store in Valkey";
    7203 REPLAY_STORE_DAMAGED Configuration None,
        "A file of the replay store is missing, or was altered after it was written.",
        "look for a failing disk; then stop the service for two clock skews and a minute, remove the folder's files, and start it again";
    7204 REPLAY_STORE_TOO_NEW Configuration None,
        "A file of the replay store was written by a newer version of this program.",
        "run that version again, or treat the folder as a damaged one";
    7205 REPLAY_STORE_EXPOSED Configuration None,
        "Others than the service's user may change the folder of the replay store.",
        "give the folder to the user that the service runs as, with mode 0700";
    7206 VALKEY_URL_WRONG Configuration None,
        "The address of the shared replay store cannot be used.",
        "write redis://HOST:PORT/DATABASE or unix:///PATH; the password belongs into a file, and TLS into a tunnel";
    7207 VALKEY_EVICTS Configuration None,
        "The shared replay store may throw entries away when its memory is full.",
        "set maxmemory-policy to noeviction in its configuration, and keep other data in another instance";
    7208 VALKEY_UNUSABLE Configuration None,
        "The shared replay store answers, but refuses what it is needed for.",
        "check user and password, that the user may run AUTH, SELECT, INFO, GET and SET on the prefix, and that the address leads to the primary";
    7209 VALKEY_ABSENT Environment None,
        "The shared replay store does not answer.",
        "check the address, and that it is running and can be reached";
    7211 SOCKET_NOT_INHERITED Configuration None,
        "The socket that was to be inherited is not there, or is none that connections can be accepted on.",
        "check the names of the sockets in the socket unit (FileDescriptorName=), and that the unit starts this service";
    7212 SERVICE_MANAGER_SILENT Environment None,
        "The service manager cannot be told how the service fares.",
        "check NOTIFY_SOCKET, and NotifyAccess= of the unit";
    7221 CONFIG_UNREADABLE Configuration None,
        "The configuration file cannot be read, or is no TOML.",
        "check the path and the line; docs/countersign.sample.toml shows every setting";
    7222 CONFIG_KEY_UNKNOWN Configuration None,
        "A setting of that name does not exist there.",
        "correct the spelling; docs/configuration.md lists every setting";
    7223 CONFIG_VALUE_WRONG Configuration None,
        "A setting has a value that it cannot have.",
        "write one of the values that may stand there; docs/configuration.md lists them";
    7224 CONFIG_CONTRADICTORY Configuration None,
        "Two settings cannot stand together, or one needs another that is not there.",
        "take one of the two away, or add the one that is missing";
    7225 CONFIG_VARIABLE_UNKNOWN Configuration None,
        "A variable of the environment begins with COUNTERSIGN_ and names no setting.",
        "correct its name, COUNTERSIGN_SECTION_KEY or COUNTERSIGN_LISTENER_NAME_KEY, or unset it";
    7226 CONFIG_FILE_UNUSABLE Configuration None,
        "A file or folder that the configuration names is not there, or cannot be read.",
        "check the path, and that the program's user may read it";
    7227 CONFIG_FILE_EXPOSED Configuration None,
        "A file with a secret that the configuration names can be read by others.",
        "give the file mode 0600, and change the secret if others may have read it";
    7228 CONFIG_KEYS_USELESS Configuration None,
        "The keytab holds no key that the listener's policy lets it use.",
        "export a key of a permitted etype for the service, or change permitted_enctypes or accept_principals";

    8001 FRAME_EMPTY PeerMisbehaved None,
        "A frame of length 0, which is never sent.",
        "check that the peer uses the same framing";
    8002 FRAME_TOO_LONG PeerMisbehaved None,
        "A frame announces more bytes than a frame may have.",
        "check that the peer uses the same framing (4 bytes little-endian length), or raise the limit";
    8003 CONNECTION_CUT Environment None,
        "The connection ended in the middle of a frame or of the handshake.",
        "look into the log of the other end";
    8004 HANDSHAKE_DEADLINE Environment None,
        "The handshake was not done when its deadline came.",
        "the peer is silent or slow; raise the deadline if it is honest";
    8005 HANDSHAKE_TOO_MANY_LEGS PeerMisbehaved None,
        "The handshake took more tokens than it may.",
        "the peer is faulty: it does not come to an end";
    8006 HANDSHAKES_EXHAUSTED Environment None,
        "Too many handshakes are open at once, and this one waited longest at the address that has most.",
        "raise the limits if the load is honest";
    8007 CONNECTION_FAILED Environment None,
        "The connection could not be made, or reading or writing failed.",
        "check that the other end is running and can be reached";
    8008 END_UNMARKED PeerMisbehaved None,
        "The connection ended without the mark of the end: something at the end may be missing.",
        "look into the log of the other end; allow_unmarked_end accepts it from peers that send no mark";
    8009 LISTEN_FAILED Environment None,
        "The address cannot be listened on.",
        "choose another address, or end the program that has it";
    8010 AUDIT_FAILED Configuration None,
        "The audit file cannot be written.",
        "free space, or name another file with --audit";
    8011 NNS_RECORD_UNKNOWN PeerMisbehaved None,
        "A handshake record of NNS is of a kind that there is not.",
        "check that the peer speaks .NET's NegotiateStream on this port; for the reference listing's framing use dword";
    8012 NNS_ERROR_RECEIVED Mismatch None,
        "The peer ended an NNS handshake with an error record.",
        "look into the peer's log; the status says which of its checks failed";
    8013 PROTECTION_TOO_LOW Policy None,
        "The client did not ask for the protection of messages that this listener demands.",
        "let the client ask for EncryptAndSign; or, if its messages may be read by anybody, configure the level sign and allow_unsealed";
    8014 SESSION_EXPIRED Policy None,
        "The ticket has expired, and the policy ends sessions with their tickets.",
        "let the client get a new ticket and connect again";
    8015 ONE_MESSAGE_ONLY Caller None,
        "A second message was to be sent in a framing that has room for one in each direction.",
        "put everything into one message, or use the framing dword";
    8021 ATTEMPTS_BLOCKED Policy None,
        "Too many handshakes from that address failed within a minute, so no more are begun with it for a while.",
        "look into the audit record for what failed; failed_attempts_block sets the limit";
    8022 NOT_RECORDED Environment None,
        "The record of a client cannot be written, and a client without a record is not let in.",
        "free space or mend the audit file; on_audit_failure = continue lets clients in without a record";
    8023 DRAINED Environment None,
        "The service was told to end, and the connection was still open when the deadline of that came.",
        "connect again to the service that took its place; drain_deadline sets how long connections may last";
    8030 SESSIONS_EXHAUSTED Environment None,
        "There is no place left for another session.",
        "wait until others have ended, or raise limits.tunnels and the number of descriptors of the process";
    8031 UPSTREAM_UNREACHABLE Environment None,
        "The service behind the listener cannot be reached.",
        "look whether it runs and listens where upstream says";
    8032 SESSION_IDLE Environment None,
        "Nothing went either way for as long as may be.",
        "connect again; raise idle_timeout if sessions may be silent for longer";

    9001 USAGE Configuration None,
        "A flag or value on the command line is wrong.",
        "see --help";
    9002 STATE_MISUSED Caller None,
        "The calling program used the library in an order it does not have.",
        "correct the calling program";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_so_none_is_given_twice() {
        assert!(ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }
}
