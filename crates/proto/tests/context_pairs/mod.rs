//! Two contexts that agree, by every mechanism and etype.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use countersign_proto::context::{Initiator, SecurityContext};
use countersign_proto::crypto::Etype;
use countersign_proto::ntlm::initiator::Credential;
use countersign_proto::ntlm::nt_hash;
use countersign_proto::policy::{AcceptorPolicy, InitiatorPolicy, NtlmService};
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::{Meeting, Pair, acceptor_policy, initiator_policy};

pub(crate) const ETYPES: [Etype; 4] = [
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha256_128,
    Etype::Aes256CtsHmacSha384_192,
];

/// Both ends of a context of Kerberos in which every key is of `etype`, under policies with changes.
pub(crate) fn kerberos_with(
    etype: Etype,
    change: impl FnOnce(&mut InitiatorPolicy, &mut AcceptorPolicy),
) -> (SecurityContext, SecurityContext) {
    let mut initiator = initiator_policy(|policy| policy.permitted_enctypes = vec![etype]);
    let mut acceptor = acceptor_policy(|policy| policy.permitted_enctypes = vec![etype]);
    change(&mut initiator, &mut acceptor);
    let contexts = Pair::new(&Mint::of_etype(etype), initiator, acceptor).meet().contexts();
    assert_eq!(contexts.0.facts().kerberos().unwrap().message_etype, etype);
    contexts
}

pub(crate) fn kerberos(etype: Etype) -> (SecurityContext, SecurityContext) {
    kerberos_with(etype, |_, _| {})
}

/// How a handshake by NTLM ends, under policies with changes.
pub(crate) fn ntlm_meeting(change: impl FnOnce(&mut InitiatorPolicy, &mut AcceptorPolicy)) -> Meeting {
    let mint = Mint::default();
    let (mut ours, mut theirs) = (InitiatorPolicy::default(), AcceptorPolicy::default());
    ours.dangerous().allow_ntlm();
    theirs.dangerous().allow_ntlm(NtlmService::default());
    change(&mut ours, &mut theirs);
    let hash = nt_hash("secret");
    let credential = Credential { user: "bob".into(), domain: "EXAMPLE".into(), nt_hash: hash.clone() };
    let initiator = Initiator::by_ntlm(mint.service.clone(), credential, ours).unwrap();
    let mut pair = Pair::new(&mint, InitiatorPolicy::default(), theirs);
    pair.initiator = initiator;
    pair.service.accounts.push(("bob".into(), "EXAMPLE".into(), hash));
    pair.meet()
}

/// Both ends of a context of NTLM that seals.
pub(crate) fn ntlm() -> (SecurityContext, SecurityContext) {
    ntlm_meeting(|_, _| {}).contexts()
}
