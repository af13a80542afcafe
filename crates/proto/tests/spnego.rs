//! Negotiation: who chooses what, which MICs are owed, and what a man in the middle can do about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use countersign_proto::context::{Facts, InitiatorStep, SecurityContext};
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::framing::Mech;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::per_message::Confidentiality;
use countersign_proto::ntlm::initiator::Credential;
use countersign_proto::ntlm::nt_hash;
use countersign_proto::policy::{AcceptorPolicy, InitiatorPolicy, NtlmService, TargetNames, Waiver};
use countersign_proto::spnego::message::{
    NegState, NegTokenResp, NegotiationToken, encode_mechs, write_init,
};
use countersign_testkit::TestRng;
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::{Direction, Offered, Pair, Service, acceptor_policy, initiator_policy};

const NEGOEX: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x1E];

fn negotiating() -> InitiatorPolicy {
    initiator_policy(|policy| policy.negotiate = true)
}

fn bare() -> InitiatorPolicy {
    initiator_policy(|policy| policy.negotiate = false)
}

fn ntlm_too() -> AcceptorPolicy {
    acceptor_policy(|policy| {
        let names = TargetNames {
            netbios_computer: "SERVER".into(),
            dns_computer: "a.example.test".into(),
            ..TargetNames::default()
        };
        policy.dangerous().allow_ntlm(NtlmService { names, accepted_spns: Vec::new() });
    })
}

fn credential(password: &str) -> Credential {
    Credential { user: "bob".into(), domain: "EXAMPLE".into(), nt_hash: nt_hash(password) }
}

fn resp(token: &[u8]) -> NegTokenResp<'_> {
    match NegotiationToken::parse(token).unwrap() {
        NegotiationToken::Resp(message) => message,
        NegotiationToken::Init(_) => panic!("a NegTokenInit"),
    }
}

fn written(message: &NegTokenResp<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.write(&mut out);
    out
}

fn init(mechs: &[&[u8]], mech_token: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_init(&encode_mechs(mechs), mech_token, &mut out);
    out
}

fn answer(mech_token: &[u8]) -> Vec<u8> {
    written(&NegTokenResp { response_token: Some(mech_token), ..NegTokenResp::default() })
}

fn mic_only(mic: &[u8]) -> Vec<u8> {
    let message = NegTokenResp {
        neg_state: Some(NegState::AcceptCompleted),
        mech_list_mic: Some(mic),
        ..NegTokenResp::default()
    };
    written(&message)
}

fn exchange(from: &mut SecurityContext, to: &mut SecurityContext) {
    let mut rng = TestRng::new(9);
    let mut token = Vec::new();
    from.sender().wrap(Confidentiality::Sealed, b"hello", &mut rng, &mut token).unwrap();
    assert_eq!(to.receiver().unwrap_in_place(&mut token).unwrap().plaintext, b"hello");
}

/// A client of Kerberos whose own token a test puts into messages by hand.
struct Client {
    service: Service,
    pair: Pair,
}

impl Client {
    fn new() -> Self {
        let mint = Mint::default();
        let pair = Pair::new(&mint, bare(), AcceptorPolicy::default());
        Self { service: Service::new(&mint, AcceptorPolicy::default()), pair }
    }

    /// Reselects Kerberos after NegoEx; gives the acceptor's state, its answer to the AP-REQ, and the client's context.
    fn reselected(
        &mut self,
        mechs: &[&[u8]],
    ) -> (countersign_proto::context::AwaitToken, Vec<u8>, SecurityContext) {
        let (state, sent) = self.service.offer(&init(mechs, Some(b"NEGOEXTS"))).again();
        let reply = resp(&sent);
        assert_eq!(reply.neg_state, Some(NegState::RequestMic));
        assert_eq!(reply.supported_mech, Some(Mech::MsKrb5.oid()));
        assert_eq!(reply.response_token, None);
        let mut ap_req = Vec::new();
        let now = self.pair.initiator_now;
        let waiting = self.pair.initiator.begin(now, &mut self.pair.initiator_rng, &mut ap_req).unwrap();
        let (state, sent) = self.service.offer_to(state, &answer(&ap_req)).again();
        let reply = resp(&sent);
        assert_eq!(reply.neg_state, Some(NegState::AcceptIncomplete));
        assert_eq!(reply.supported_mech, None);
        let step =
            waiting.token(reply.response_token.unwrap(), now, &mut self.pair.initiator_rng, &mut Vec::new());
        let InitiatorStep::Done(context) = step else { panic!("the AP-REP was not believed") };
        (state, sent, *context)
    }
}

const WINDOWS_LIST: [&[u8]; 3] = [
    NEGOEX,
    &[0x2A, 0x86, 0x48, 0x82, 0xF7, 0x12, 0x01, 0x02, 0x02],
    &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02],
];

#[test]
fn kerberos_as_the_first_mech_takes_two_messages_and_no_mic() {
    let meeting = Pair::new(&Mint::default(), negotiating(), AcceptorPolicy::default()).meet();
    assert_eq!(meeting.transcript.len(), 2);
    let reply = resp(&meeting.transcript[1].1);
    assert_eq!(reply.neg_state, Some(NegState::AcceptCompleted));
    assert_eq!(reply.supported_mech, Some(Mech::Krb5.oid()));
    assert_eq!(reply.mech_list_mic, None);
    let (mut initiator, mut acceptor) = meeting.contexts();
    assert!(initiator.negotiated() && acceptor.negotiated());
    exchange(&mut initiator, &mut acceptor);
    exchange(&mut acceptor, &mut initiator);
}

#[test]
fn the_ms_krb5_alias_is_echoed_and_its_optimistic_token_used() {
    let mut client = Client::new();
    let mut ap_req = Vec::new();
    let now = client.pair.initiator_now;
    let _waiting = client.pair.initiator.begin(now, &mut client.pair.initiator_rng, &mut ap_req).unwrap();
    let token = init(&[Mech::MsKrb5.oid(), Mech::Krb5.oid(), Mech::Ntlmssp.oid()], Some(&ap_req));
    let (_, sent) = client.service.offer(&token).accepted();
    assert_eq!(resp(&sent).supported_mech, Some(Mech::MsKrb5.oid()));
    assert_eq!(resp(&sent).neg_state, Some(NegState::AcceptCompleted));
}

#[test]
fn a_kerberos_token_under_either_number_of_the_list_is_not_dropped() {
    let mut client = Client::new();
    let mut ap_req = Vec::new();
    let now = client.pair.initiator_now;
    let _waiting = client.pair.initiator.begin(now, &mut client.pair.initiator_rng, &mut ap_req).unwrap();
    client.service.offer(&init(&[Mech::Krb5.oid(), Mech::MsKrb5.oid()], Some(&ap_req))).accepted();
}

#[test]
fn negoex_is_passed_over_and_both_ends_prove_the_list() {
    let mut client = Client::new();
    let (state, sent, mut context) = client.reselected(&WINDOWS_LIST);
    let list = encode_mechs(&WINDOWS_LIST);
    context.receiver().verify_mic(&[&list], resp(&sent).mech_list_mic.unwrap()).unwrap();
    let mut mic = Vec::new();
    context.sender().mic(&[&list], &mut mic).unwrap();
    let (mut acceptor, sent) = client.service.offer_to(state, &mic_only(&mic)).accepted();
    assert!(sent.is_empty(), "nothing answers the last MIC");
    exchange(&mut context, &mut acceptor);
    exchange(&mut acceptor, &mut context);
}

fn refused_mic(alter: impl FnOnce(&mut SecurityContext, &[u8], Vec<u8>) -> Vec<u8>) -> Code {
    let mut client = Client::new();
    let (state, sent, mut context) = client.reselected(&WINDOWS_LIST);
    let acceptors_mic = resp(&sent).mech_list_mic.unwrap().to_vec();
    let token = alter(&mut context, &encode_mechs(&WINDOWS_LIST), acceptors_mic);
    let (rejected, sent) = client.service.offer_to(state, &token).refused();
    assert_eq!(resp(&sent).neg_state, Some(NegState::Reject));
    assert!(rejected.facts.is_some(), "who it was is known by then");
    rejected.refusal.code()
}

#[test]
fn a_mic_with_a_bit_flipped_is_refused() {
    for bit in 0..8 * 28 {
        let code = refused_mic(|context, list, _| {
            let mut mic = Vec::new();
            context.sender().mic(&[list], &mut mic).unwrap();
            mic[bit / 8] ^= 1 << (bit % 8);
            mic_only(&mic)
        });
        assert_eq!(code, code::MECH_LIST_MIC_WRONG, "bit {bit}");
    }
}

#[test]
fn a_mic_over_another_list_is_refused() {
    // What is left when somebody put NegoEx in front of the list that the client sent.
    let code = refused_mic(|context, _, _| {
        let mut mic = Vec::new();
        context.sender().mic(&[&encode_mechs(&WINDOWS_LIST[1..])], &mut mic).unwrap();
        mic_only(&mic)
    });
    assert_eq!(code, code::MECH_LIST_MIC_WRONG);
}

#[test]
fn the_acceptors_own_mic_sent_back_is_refused() {
    assert_eq!(refused_mic(|_, _, mic| mic_only(&mic)), code::MECH_LIST_MIC_WRONG);
}

#[test]
fn a_last_message_without_the_mic_is_refused() {
    let completed = NegTokenResp { neg_state: Some(NegState::AcceptCompleted), ..NegTokenResp::default() };
    assert_eq!(refused_mic(|_, _, _| written(&completed)), code::TOKEN_UNEXPECTED);
    assert_eq!(refused_mic(|_, _, _| answer(b"more")), code::TOKEN_UNEXPECTED);
}

#[test]
fn a_list_without_anything_allowed_is_refused_with_the_list_in_the_log() {
    let mut service = Service::new(&Mint::default(), AcceptorPolicy::default());
    let (rejected, sent) = service.offer(&init(&[NEGOEX, &[0x2A, 3]], None)).refused();
    assert_eq!(rejected.refusal.code(), code::NO_COMMON_MECH);
    assert_eq!(rejected.refusal.saw(), "the mech list NegoEx, mech 1.2.3");
    assert_eq!(resp(&sent), NegTokenResp { neg_state: Some(NegState::Reject), ..NegTokenResp::default() });
}

#[test]
fn ntlm_alone_is_refused_with_the_usual_reasons_while_it_is_off() {
    // weakness 7
    let mut service = Service::new(&Mint::default(), AcceptorPolicy::default());
    let (rejected, sent) = service.offer(&init(&[Mech::Ntlmssp.oid()], Some(b"NTLMSSP\0"))).refused();
    assert_eq!(rejected.refusal.code(), code::NTLM_OFF);
    assert!(rejected.refusal.advice().contains("IP address"));
    assert_eq!(resp(&sent).neg_state, Some(NegState::Reject));
    let (rejected, sent) = service.offer(b"NTLMSSP\0\x01\0\0\0").refused();
    assert_eq!(rejected.refusal.code(), code::NTLM_OFF);
    assert!(sent.is_empty());
}

#[test]
fn a_first_message_that_breaks_the_rules_is_rejected() {
    let not_a_list = [0x60, 0x0C, 0x06, 0x06, 0x2B, 0x06, 0x01, 0x05, 0x05, 0x02, 0xA0, 0x02, 0x30, 0x00];
    let an_answer = answer(b"token");
    for (token, code) in [(&not_a_list[..], code::TOKEN_MALFORMED), (&an_answer, code::TOKEN_UNEXPECTED)] {
        let mut service = Service::new(&Mint::default(), AcceptorPolicy::default());
        let (rejected, sent) = service.offer(token).refused();
        assert_eq!(rejected.refusal.code(), code);
        assert_eq!(resp(&sent).neg_state, Some(NegState::Reject));
    }
}

#[test]
fn the_leg_cap_inside_spnego_is_told_by_a_reject() {
    let mint = Mint::default();
    let policy = AcceptorPolicy::default();
    let acceptor = countersign_proto::context::Acceptor::with_max_legs(mint.service_keys(), policy, 1);
    let mut service = Service::of(acceptor, mint.now);
    let (state, _) = service.offer(&init(&WINDOWS_LIST, None)).again();
    let (rejected, sent) = service.offer_to(state, &answer(b"more")).refused();
    assert_eq!(rejected.refusal.code(), code::HANDSHAKE_TOO_MANY_LEGS);
    assert_eq!(resp(&sent).neg_state, Some(NegState::Reject));
}

#[test]
fn a_refused_ticket_is_told_inside_a_reject() {
    let mint = Mint::default();
    let mut pair = Pair::new(&mint, negotiating(), AcceptorPolicy::default());
    let first = pair.meet();
    let token = first.transcript[0].1.clone();
    let (rejected, sent) = pair.service.offer(&token).refused();
    assert_eq!(rejected.refusal.code(), code::REPLAY);
    assert_eq!(resp(&sent).neg_state, Some(NegState::Reject));
    assert_eq!(countersign_testkit::pair::told(resp(&sent).response_token.unwrap()).error_code, 34);
}

#[test]
fn a_skewed_client_recovers_inside_spnego() {
    let mut pair = Pair::new(&Mint::default(), negotiating(), AcceptorPolicy::default());
    pair.initiator_now = pair.initiator_now.shifted(400_000_000);
    let meeting = pair.meet();
    assert_eq!(meeting.transcript.len(), 4);
    assert_eq!(resp(&meeting.transcript[1].1).neg_state, Some(NegState::AcceptIncomplete));
    let (mut initiator, mut acceptor) = meeting.contexts();
    exchange(&mut initiator, &mut acceptor);
}

fn initiator_refuses(alter: impl Fn(NegTokenResp<'_>) -> Vec<u8>) -> Refusal {
    let mut pair = Pair::new(&Mint::default(), negotiating(), AcceptorPolicy::default());
    let meeting = pair.meet_altered(|delivery| {
        if delivery.direction == Direction::ToInitiator {
            delivery.token = delivery.token.take().map(|token| alter(resp(&token)));
        }
    });
    meeting.initiator.err().expect("a refusal")
}

#[test]
fn an_initiator_refuses_a_forged_accept_completed() {
    // weaknesses 4 and 5
    let forged = NegTokenResp { neg_state: Some(NegState::AcceptCompleted), ..NegTokenResp::default() };
    assert_eq!(initiator_refuses(|_| written(&forged)).code(), code::TOKEN_UNEXPECTED);
    let named = NegTokenResp { supported_mech: Some(Mech::Krb5.oid()), ..forged };
    assert_eq!(initiator_refuses(|_| written(&named)).code(), code::TOKEN_UNEXPECTED);
}

#[test]
fn an_initiator_refuses_a_mech_that_it_did_not_offer() {
    for mech in [Mech::Ntlmssp.oid(), NEGOEX, Mech::Iakerb.oid()] {
        for state in [NegState::RequestMic, NegState::AcceptIncomplete, NegState::AcceptCompleted] {
            let refusal = initiator_refuses(|message| {
                written(&NegTokenResp { neg_state: Some(state), supported_mech: Some(mech), ..message })
            });
            assert_eq!(refusal.code(), code::NEGOTIATION_CHOICE);
        }
    }
}

#[test]
fn an_initiator_takes_an_answer_that_names_no_mech_and_no_state() {
    // As Java answers.
    let mut pair = Pair::new(&Mint::default(), negotiating(), AcceptorPolicy::default());
    let meeting = pair.meet_altered(|delivery| {
        if delivery.direction == Direction::ToInitiator {
            delivery.token = delivery.token.take().map(|token| answer(resp(&token).response_token.unwrap()));
        }
    });
    let _agreed = meeting.contexts();
}

#[test]
fn an_initiator_ignores_windows_2000s_second_copy_of_the_token() {
    let mut pair = Pair::new(&Mint::default(), negotiating(), AcceptorPolicy::default());
    let meeting = pair.meet_altered(|delivery| {
        if delivery.direction == Direction::ToInitiator {
            delivery.token = delivery.token.take().map(|token| {
                let message = resp(&token);
                written(&NegTokenResp { mech_list_mic: message.response_token, ..message })
            });
        }
    });
    let _agreed = meeting.contexts();
}

#[test]
fn an_initiator_refuses_a_wrong_mic_and_a_rejection() {
    let mic = [
        4, 4, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];
    let refusal =
        initiator_refuses(|message| written(&NegTokenResp { mech_list_mic: Some(&mic), ..message }));
    assert_eq!(refusal.code(), code::MECH_LIST_MIC_WRONG);
    let refusal =
        initiator_refuses(|message| written(&NegTokenResp { neg_state: Some(NegState::Reject), ..message }));
    assert_eq!(refusal.code(), code::NEGOTIATION_REJECTED);
    let nothing = NegTokenResp { neg_state: Some(NegState::Reject), ..NegTokenResp::default() };
    assert_eq!(initiator_refuses(|_| written(&nothing)).code(), code::NEGOTIATION_REJECTED);
}

#[test]
fn a_cut_connection_leaves_no_context_at_either_end() {
    for cut in 0..2 {
        let mut pair = Pair::new(&Mint::default(), negotiating(), AcceptorPolicy::default());
        let meeting = pair.meet_altered(|delivery| {
            if delivery.index == cut {
                delivery.token = None;
            }
        });
        assert!(meeting.initiator.is_err());
        assert_eq!(meeting.acceptor.is_err(), cut == 0);
    }
}

#[test]
fn the_hint_offers_what_is_allowed() {
    let service = Service::new(&Mint::default(), ntlm_too());
    let mut hint = Vec::new();
    service.acceptor.begin().hint(&mut hint);
    let NegotiationToken::Init(init) = NegotiationToken::parse(&hint).unwrap() else {
        panic!("no NegTokenInit")
    };
    assert_eq!(init.mechs().collect::<Vec<_>>(), [Mech::Krb5.oid(), Mech::Ntlmssp.oid()]);
    assert!(init.mech_token.is_none() && init.mech_list_mic.is_none());
}

#[test]
fn cut_and_changed_messages_never_panic_and_are_never_waited_for() {
    let meeting = Pair::new(&Mint::default(), negotiating(), AcceptorPolicy::default()).meet();
    let first = meeting.transcript[0].1.clone();
    for length in 0..first.len() {
        let mut service = Service::new(&Mint::default(), AcceptorPolicy::default());
        assert!(matches!(service.offer(&first[..length]), Offered::Refused { .. }), "{length} bytes");
    }
    let reply = meeting.transcript[1].1.clone();
    for length in 0..reply.len() {
        let refusal = initiator_refuses(|_| reply[..length].to_vec());
        assert_ne!(refusal.code().number(), 0);
    }
}

/// A client with a password for NTLM alone, and a service that knows it.
fn ntlm_pair(password: &str, policy: impl FnOnce(&mut InitiatorPolicy)) -> Pair {
    let mint = Mint::default();
    let mut pair = Pair::new(&mint, negotiating(), ntlm_too());
    pair.service.accounts.push(("bob".into(), "EXAMPLE".into(), nt_hash("secret")));
    let policy = initiator_policy(|initiator| {
        initiator.dangerous().allow_ntlm();
        policy(initiator);
    });
    let service = Principal::parse("HTTP/a.example.test").unwrap();
    pair.initiator =
        countersign_proto::context::Initiator::by_ntlm(service, credential(password), policy).unwrap();
    pair
}

#[test]
fn ntlm_in_spnego_proves_the_client_and_says_that_the_service_proved_nothing() {
    // weakness 7
    let meeting = ntlm_pair("secret", |policy| policy.negotiate = true).meet();
    assert_eq!(meeting.transcript.len(), 4);
    assert!(resp(&meeting.transcript[2].1).mech_list_mic.is_some());
    assert!(resp(&meeting.transcript[3].1).mech_list_mic.is_some());
    let (mut initiator, mut acceptor) = meeting.contexts();
    for context in [&initiator, &acceptor] {
        assert!(!context.facts().mutual());
        assert!(context.facts().waivers().contains(&Waiver::AllowNtlm));
        assert_eq!(context.facts().client(), "EXAMPLE\\bob");
        assert!(matches!(context.facts(), Facts::Ntlm { .. }));
    }
    for _ in 0..3 {
        exchange(&mut initiator, &mut acceptor);
        exchange(&mut acceptor, &mut initiator);
    }
}

#[test]
fn an_initiator_never_sends_ntlm_bare() {
    let meeting = ntlm_pair("secret", |policy| policy.negotiate = false).meet();
    assert!(matches!(NegotiationToken::parse(&meeting.transcript[0].1), Ok(NegotiationToken::Init(_))));
}

#[test]
fn an_initiator_sends_nothing_after_a_reject() {
    let mut pair = ntlm_pair("secret", |_| {});
    let meeting = pair.meet_altered(|delivery| {
        if delivery.index == 1 {
            let token = delivery.token.take().unwrap();
            delivery.token =
                Some(written(&NegTokenResp { neg_state: Some(NegState::Reject), ..resp(&token) }));
        }
    });
    assert_eq!(meeting.transcript.len(), 2);
    assert_eq!(meeting.initiator.err().unwrap().code(), code::NEGOTIATION_REJECTED);
}

#[test]
fn a_wrong_password_is_refused_with_a_reject() {
    let meeting = ntlm_pair("guess", |policy| policy.negotiate = true).meet();
    assert_eq!(meeting.acceptor.err().unwrap().refusal.code(), code::NTLM_PROOF_WRONG);
    assert_eq!(meeting.initiator.err().unwrap().code(), code::NEGOTIATION_REJECTED);
}

#[test]
fn an_initiator_without_the_waiver_has_no_ntlm() {
    let service = Principal::parse("HTTP/a.example.test").unwrap();
    let refused = countersign_proto::context::Initiator::by_ntlm(service, credential("x"), negotiating());
    assert_eq!(refused.err().unwrap().code(), code::NTLM_OFF);
}

/// A client with a ticket and a password, towards a service that takes both.
fn both() -> Pair {
    let mint = Mint::default();
    let policy = initiator_policy(|policy| {
        policy.negotiate = true;
        policy.dangerous().allow_ntlm();
    });
    let mut pair = Pair::new(&mint, policy, ntlm_too());
    pair.service.accounts.push(("bob".into(), "EXAMPLE".into(), nt_hash("secret")));
    pair.initiator = pair.initiator.clone().with_ntlm(credential("secret")).unwrap();
    pair
}

#[test]
fn a_client_with_both_uses_kerberos() {
    let (initiator, acceptor) = both().meet().contexts();
    assert!(initiator.facts().mutual() && acceptor.facts().mutual());
}

#[test]
fn kerberos_stripped_from_the_list_on_the_way_is_found_out() {
    // weakness 7
    let meeting = both().meet_altered(|delivery| {
        if delivery.index == 0 {
            delivery.token = Some(init(&[Mech::Ntlmssp.oid()], None));
        }
    });
    assert_eq!(meeting.acceptor.err().unwrap().refusal.code(), code::MECH_LIST_MIC_WRONG);
    assert!(meeting.initiator.is_err());
}

#[test]
fn a_reordered_list_is_found_out() {
    let meeting = both().meet_altered(|delivery| {
        if delivery.index == 0 {
            delivery.token = Some(init(&[Mech::Ntlmssp.oid(), Mech::Krb5.oid()], None));
        }
    });
    assert_eq!(meeting.acceptor.err().unwrap().refusal.code(), code::MECH_LIST_MIC_WRONG);
    assert!(meeting.initiator.is_err());
}

#[test]
fn ntlm_without_the_mech_list_mic_is_refused_by_either_end() {
    for stripped in [2, 3] {
        let meeting = ntlm_pair("secret", |policy| policy.negotiate = true).meet_altered(|delivery| {
            if delivery.index == stripped {
                let token = delivery.token.take().unwrap();
                delivery.token = Some(written(&NegTokenResp { mech_list_mic: None, ..resp(&token) }));
            }
        });
        assert!(meeting.initiator.is_err(), "message {stripped}");
        if stripped == 2 {
            assert_eq!(meeting.acceptor.err().unwrap().refusal.code(), code::MECH_LIST_MIC_MISSING);
        } else {
            assert_eq!(meeting.initiator.err().unwrap().code(), code::MECH_LIST_MIC_MISSING);
        }
    }
}

#[test]
fn every_message_of_ntlm_in_spnego_cut_anywhere_is_refused_by_an_end() {
    let lengths: Vec<usize> = ntlm_pair("secret", |policy| policy.negotiate = true)
        .meet()
        .transcript
        .iter()
        .map(|(_, token)| token.len())
        .collect();
    for (index, length) in lengths.into_iter().enumerate() {
        for cut in 0..length {
            let meeting = ntlm_pair("secret", |policy| policy.negotiate = true).meet_altered(|delivery| {
                if delivery.index == index {
                    delivery.token.as_mut().unwrap().truncate(cut);
                }
            });
            assert!(meeting.initiator.is_err(), "message {index} cut to {cut}");
        }
    }
}
