//! What an acceptor of NTLM demands, and in which order it looks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ntlm_pair;

use countersign_proto::error::{Explain, code};
use countersign_proto::krb5::facts::BindingsState;
use countersign_proto::ntlm::acceptor::Challenged;
use countersign_proto::ntlm::accounts::{Identity, Verdict};
use countersign_proto::ntlm::messages::{
    AvPairs, Challenge, LayoutError, Negotiate, av_id, filetime, to_utf16,
};
use countersign_proto::ntlm::{NegotiateFlags, NtlmError};
use countersign_proto::policy::TargetNames;
use countersign_proto::secret::Secret;
use ntlm_pair::{Client, Counter, Demands, NOW, account_file, bindings, challenged};

/// Offsets in the header of an AUTHENTICATE.
const LM_RESPONSE: usize = 12;
const NT_RESPONSE: usize = 20;
const USER: usize = 36;

fn refusal(client: &Client, demands: &Demands) -> Option<NtlmError> {
    let (challenged, message) = client.authenticate();
    demands.judge(challenged, &message).err()
}

/// The refusal of an honest client's AUTHENTICATE after `alter`.
fn refusal_of(alter: impl Fn(&mut Vec<u8>)) -> Option<NtlmError> {
    let (challenged, mut message) = Client::honest().authenticate();
    alter(&mut message);
    Demands::default().judge(challenged, &message).err()
}

fn code_of(refused: Option<NtlmError>) -> u16 {
    refused.unwrap().code().number()
}

fn alice() -> (String, String) {
    ("alice".to_owned(), "EXAMPLE".to_owned())
}

fn each_bit(flags: NegotiateFlags) -> impl Iterator<Item = NegotiateFlags> {
    (0..32).map(|bit| NegotiateFlags(1 << bit)).filter(move |bit| flags.contains(*bit))
}

#[test]
fn acceptor_takes_an_honest_client() {
    let (challenged, message) = Client::honest().authenticate();
    let context = Demands::default().judge(challenged, &message).ok().unwrap();
    assert_eq!(context.facts.client.user, "alice");
    assert_eq!((context.facts.bindings, context.facts.target_name), (BindingsState::NotCompared, None));
    assert!(!context.facts.mutual);
}

#[test]
fn challenge_offers_the_time_the_names_and_no_more_than_was_asked() {
    let mut negotiate = Vec::new();
    Negotiate { flags: NegotiateFlags(0xFFFF_FFFF) }.write(&mut negotiate);
    let (_, challenge) = challenged(&negotiate).unwrap();
    let challenge = Challenge::parse(&challenge).ok().unwrap();
    assert_eq!(
        challenge.flags.to_string(),
        "UNICODE,REQUEST_TARGET,SIGN,SEAL,NTLM,ALWAYS_SIGN,TARGET_TYPE_DOMAIN,EXTENDED_SESSIONSECURITY,\
         IDENTIFY,TARGET_INFO,VERSION,128,KEY_EXCH"
    );
    assert_eq!(challenge.server_challenge, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(challenge.target_name, to_utf16("EXAMPLE"));
    let pairs = AvPairs::parse(challenge.target_info).ok().unwrap();
    assert_eq!(pairs.timestamp(), Some(filetime(NOW)));
    assert_eq!(pairs.get(av_id::DNS_COMPUTER_NAME), Some(&*to_utf16("server.example.test")));
    assert_eq!(pairs.iter().count(), 5);
}

#[test]
fn a_machine_without_a_domain_is_its_own_target() {
    let mut negotiate = Vec::new();
    Negotiate { flags: NegotiateFlags(0xFFFF_FFFF) }.write(&mut negotiate);
    let names = TargetNames { netbios_computer: "ALONE".to_owned(), ..TargetNames::default() };
    let mut challenge = Vec::new();
    Challenged::begin(&negotiate, &names, NOW, &mut Counter::new(), &mut challenge).ok().unwrap();
    let challenge = Challenge::parse(&challenge).ok().unwrap();
    assert_eq!(challenge.target_name, to_utf16("ALONE"));
    assert!(challenge.flags.contains(NegotiateFlags::TARGET_TYPE_SERVER));
    assert!(!challenge.flags.contains(NegotiateFlags::TARGET_TYPE_DOMAIN));
}

#[test]
fn names_that_no_challenge_can_hold_are_refused_and_nothing_is_sent() {
    let mut negotiate = Vec::new();
    Negotiate { flags: NegotiateFlags::DEMANDED }.write(&mut negotiate);
    let names = TargetNames { dns_domain: "x".repeat(32_768), ..TargetNames::default() };
    let mut out = Vec::new();
    let refused = Challenged::begin(&negotiate, &names, NOW, &mut Counter::new(), &mut out).err();
    assert_eq!(refused.unwrap().code(), code::NTLM_NAMES_UNUSABLE);
    assert!(out.is_empty());
}

#[test]
fn acceptor_refuses_a_client_that_lacks_any_one_of_what_is_demanded() {
    for missing in each_bit(NegotiateFlags::DEMANDED) {
        let flags = NegotiateFlags::DEMANDED.union(NegotiateFlags::SEAL).without(missing);
        let mut negotiate = Vec::new();
        Negotiate { flags }.write(&mut negotiate);
        assert_eq!(challenged(&negotiate).err(), Some(NtlmError::ClientFlags { missing }));

        let client = Client { flags, ..Client::honest() };
        assert_eq!(refusal(&client, &Demands::default()), Some(NtlmError::ClientFlags { missing }));
    }
}

#[test]
fn acceptor_refuses_protection_that_it_did_not_offer() {
    for added in [NegotiateFlags::DATAGRAM, NegotiateFlags::LM_KEY, NegotiateFlags::OEM] {
        let client = Client { flags: NegotiateFlags::DEMANDED.union(added), ..Client::honest() };
        assert_eq!(refusal(&client, &Demands::default()), Some(NtlmError::FlagsAdded { added }));
    }
}

/// Weakness 8.
#[test]
fn acceptor_refuses_a_client_that_is_nobody() {
    let anonymous = Client { flags: NegotiateFlags(NegotiateFlags::DEMANDED.0 | 0x800), ..Client::honest() };
    assert_eq!(refusal(&anonymous, &Demands::default()), Some(NtlmError::Anonymous));
    let nameless = Client { user: String::new(), ..Client::honest() };
    assert_eq!(refusal(&nameless, &Demands::default()), Some(NtlmError::Anonymous));
    let windows = refusal_of(|message| {
        // Empty user and NT response, one byte of LM response.
        message[LM_RESPONSE] = 1;
        message[NT_RESPONSE..NT_RESPONSE + 2].fill(0);
        message[USER..USER + 2].fill(0);
    });
    assert_eq!(windows, Some(NtlmError::Anonymous));
}

/// Weakness 8.
#[test]
fn acceptor_refuses_a_guest() {
    let (challenged, message) = Client::honest().authenticate();
    let claimed = challenged.authenticate(&message, &[], false, &[]).unwrap();
    let Verdict::Valid { session_base_key, identity } = account_file(claimed.request()) else { panic!() };
    let identity = Identity { user: "Guest".to_owned(), guest: true, ..identity };
    let refused = claimed.judge(Verdict::Valid { session_base_key, identity }).err();
    assert_eq!(refused.unwrap().code(), code::NTLM_GUEST);
}

#[test]
fn acceptor_refuses_lm_and_ntlmv1() {
    let lm = refusal_of(|message| message[NT_RESPONSE..NT_RESPONSE + 2].fill(0));
    assert_eq!(code_of(lm), code::NTLM_OLD_RESPONSE.number());
    let v1 = refusal_of(|message| message[NT_RESPONSE] = 24);
    assert_eq!(code_of(v1), code::NTLM_OLD_RESPONSE.number());
}

#[test]
fn acceptor_refuses_an_nt_response_too_short_or_of_another_version() {
    for length in (1..44).filter(|length| *length != 24) {
        let refused = refusal_of(|message| message[NT_RESPONSE] = length);
        assert_eq!(code_of(refused), code::NTLM_MESSAGE_MALFORMED.number(), "{length}");
    }
    for version in [[0, 1], [2, 1], [1, 2]] {
        let mut temp = [0; 32];
        temp[..2].copy_from_slice(&version);
        let (challenged, message) = Client::honest().authenticate_with(&temp);
        let refused = Demands::default().judge(challenged, &message).err();
        assert_eq!(code_of(refused), code::NTLM_MESSAGE_MALFORMED.number());
    }
}

#[test]
fn acceptor_refuses_a_wrong_password_user_or_domain() {
    let (user, domain) = alice();
    let wrong = Client { password: "Pa55word".to_owned(), ..Client::honest() };
    assert_eq!(refusal(&wrong, &Demands::default()), Some(NtlmError::Proof { user, domain }));

    let (challenged, message) = Client::honest().authenticate();
    let altered = |message: &mut Vec<u8>, from: &str, to: &str| {
        let at = message.windows(from.len() * 2).position(|window| window == to_utf16(from)).unwrap();
        message[at..at + to.len() * 2].copy_from_slice(&to_utf16(to));
    };
    let mut other = message.clone();
    altered(&mut other, "alice", "malic");
    let refused = Demands::default().judge(challenged, &other).err();
    assert_eq!(code_of(refused), code::NTLM_PROOF_WRONG.number());
    let refused = refusal_of(|message| altered(message, "EXAMPLE", "example"));
    assert_eq!(code_of(refused), code::NTLM_PROOF_WRONG.number());
}

#[test]
fn the_case_of_a_user_does_not_matter_to_the_proof() {
    let client = Client { user: "ALICE".to_owned(), ..Client::honest() };
    let (challenged, mut message) = client.authenticate();
    let at = message.windows(10).position(|window| window == to_utf16("ALICE")).unwrap();
    message[at..at + 10].copy_from_slice(&to_utf16("alice"));
    // The proof holds, so that it is the MIC which finds the change.
    let refused = Demands::default().judge(challenged, &message).err();
    assert_eq!(code_of(refused), code::NTLM_MIC_WRONG.number());
}

#[test]
fn acceptor_refuses_what_an_account_source_cannot_tell() {
    let judged = |verdict: fn() -> Verdict| {
        let (challenged, message) = Client::honest().authenticate();
        challenged.authenticate(&message, &[], false, &[]).unwrap().judge(verdict()).err()
    };
    assert_eq!(code_of(judged(|| Verdict::Unavailable)), code::NTLM_ACCOUNTS_UNAVAILABLE.number());
    assert_eq!(code_of(judged(|| Verdict::Invalid)), code::NTLM_PROOF_WRONG.number());
    let identity = || Identity { user: "alice".to_owned(), domain: String::new(), guest: false };
    let refused = |length: usize| {
        let (challenged, message) = Client::honest().authenticate();
        let session_base_key = Secret::new(vec![0; length]);
        let claimed = challenged.authenticate(&message, &[], false, &[]).unwrap();
        code_of(claimed.judge(Verdict::Valid { session_base_key, identity: identity() }).err())
    };
    assert_eq!(refused(15), code::NTLM_ACCOUNTS_UNAVAILABLE.number());
    // An account source that says yes to everybody does not know the session's key.
    assert_eq!(refused(16), code::NTLM_MIC_WRONG.number());
}

/// Weakness 9.
#[test]
fn acceptor_refuses_a_client_bound_to_another_channel() {
    let demands = Demands { bindings: Some(bindings("here")), ..Demands::default() };
    let bound = |data: &str| Client::honest().with_pair(av_id::CHANNEL_BINDINGS, &bindings(data).hash().0);
    let refused = refusal(&bound("there"), &demands);
    assert_eq!(code_of(refused), code::CHANNEL_BINDINGS_MISMATCH.number());
    let (challenged, message) = bound("here").authenticate();
    let context = demands.judge(challenged, &message).ok().unwrap();
    assert_eq!(context.facts.bindings, BindingsState::Matched);
    assert_eq!(context.bindings.state(), BindingsState::Matched);
    // Where there is no channel to compare with, what a client says of one is passed over.
    let (challenged, message) = bound("there").authenticate();
    let context = Demands::default().judge(challenged, &message).ok().unwrap();
    assert_eq!(context.facts.bindings, BindingsState::NotCompared);
}

/// Weakness 9.
#[test]
fn acceptor_takes_an_unbound_client_unless_bindings_are_required() {
    let zeros = Client::honest().with_pair(av_id::CHANNEL_BINDINGS, &[0; 16]);
    for client in [Client::honest(), zeros] {
        let mut demands = Demands { bindings: Some(bindings("here")), ..Demands::default() };
        let (challenged, message) = client.authenticate();
        let context = demands.judge(challenged, &message).ok().unwrap();
        assert_eq!(context.facts.bindings, BindingsState::AbsentAtInitiator);
        demands.require_bindings = true;
        assert_eq!(code_of(refusal(&client, &demands)), code::CHANNEL_BINDINGS_MISSING.number());
    }
}

/// Weakness 9.
#[test]
fn acceptor_refuses_a_client_that_means_another_service() {
    let demands = Demands { spns: vec!["HTTP/a.example.test".to_owned()], ..Demands::default() };
    let meaning = |spn: &str| Client::honest().with_pair(av_id::TARGET_NAME, &to_utf16(spn));
    let refused = refusal(&meaning("HTTP/b.example.test"), &demands);
    assert_eq!(code_of(refused), code::NTLM_TARGET_NAME_MISMATCH.number());
    for spn in ["HTTP/a.example.test", "http/A.EXAMPLE.TEST"] {
        let (challenged, message) = meaning(spn).authenticate();
        let context = demands.judge(challenged, &message).ok().unwrap();
        assert_eq!(context.facts.target_name.as_deref(), Some(spn));
    }
    for silent in [meaning(""), Client::honest()] {
        assert_eq!(code_of(refusal(&silent, &demands)), code::NTLM_TARGET_NAME_MISMATCH.number());
    }
    assert_eq!(refusal(&Client::honest(), &Demands::default()), None);
    assert_eq!(refusal(&meaning("HTTP/b.example.test"), &Demands::default()), None);
}

#[test]
fn acceptor_refuses_a_client_whose_proved_word_is_that_there_is_no_mic() {
    let (user, domain) = alice();
    let refused = Some(NtlmError::MicMissing { user, domain });
    for flags in [vec![], vec![0, 0, 0, 0], vec![1, 0, 0, 0], vec![0, 0, 0, 2]] {
        let mut client = Client::honest().without_pairs();
        if !flags.is_empty() {
            client = client.with_pair(av_id::FLAGS, &flags);
        }
        assert_eq!(refusal(&client, &Demands::default()), refused);
    }
}

#[test]
fn acceptor_refuses_a_wrong_mic() {
    for at in 72..88 {
        let refused = refusal_of(|message| message[at] ^= 1);
        assert_eq!(code_of(refused), code::NTLM_MIC_WRONG.number());
    }
}

/// Of what is wrong the first check tells, and nothing under a proof is believed before the proof.
#[test]
fn checks_come_in_the_order_proof_bindings_target_mic() {
    let mut client = Client::honest()
        .without_pairs()
        .with_pair(av_id::CHANNEL_BINDINGS, &[1; 16])
        .with_pair(av_id::TARGET_NAME, &to_utf16("HTTP/b.example.test"));
    client.password = "wrong".to_owned();
    let mut demands = Demands {
        bindings: Some(bindings("here")),
        spns: vec!["HTTP/a.example.test".to_owned()],
        ..Demands::default()
    };
    assert_eq!(code_of(refusal(&client, &demands)), code::NTLM_PROOF_WRONG.number());
    client.password = ntlm_pair::PASSWORD.to_owned();
    assert_eq!(code_of(refusal(&client, &demands)), code::CHANNEL_BINDINGS_MISMATCH.number());
    demands.bindings = None;
    assert_eq!(code_of(refusal(&client, &demands)), code::NTLM_TARGET_NAME_MISMATCH.number());
    demands.spns.clear();
    assert_eq!(code_of(refusal(&client, &demands)), code::NTLM_MIC_MISSING.number());
}

#[test]
fn broken_av_pairs_are_a_wrong_proof_until_the_proof_is_right() {
    let temp = [&[1, 1][..], &[0; 26], &[9, 0, 200, 0, 1]].concat();
    let mut client = Client { password: "wrong".to_owned(), ..Client::honest() };
    let judged = |client: &Client| {
        let (challenged, message) = client.authenticate_with(&temp);
        code_of(Demands::default().judge(challenged, &message).err())
    };
    assert_eq!(judged(&client), code::NTLM_PROOF_WRONG.number());
    client.password = ntlm_pair::PASSWORD.to_owned();
    assert_eq!(judged(&client), code::NTLM_MESSAGE_MALFORMED.number());
}

#[test]
fn names_too_long_for_a_log_are_refused() {
    for client in [
        Client { user: "u".repeat(513), ..Client::honest() },
        Client { domain: "d".repeat(513), ..Client::honest() },
        Client::honest().with_pair(av_id::TARGET_NAME, &to_utf16(&"s".repeat(513))),
    ] {
        let refused = refusal(&client, &Demands::default());
        assert_eq!(code_of(refused), code::NTLM_MESSAGE_MALFORMED.number());
    }
    let client = Client { user: "u".repeat(512), ..Client::honest() };
    assert_eq!(refusal(&client, &Demands::default()), None);
}

#[test]
fn a_name_cannot_forge_a_line_of_a_log() {
    let client = Client { user: "a\u{202e}".to_owned(), password: "x".to_owned(), ..Client::honest() };
    let saw = refusal(&client, &Demands::default()).unwrap().saw().into_owned();
    assert_eq!(saw, "EXAMPLE\\a\\u{202e} with a wrong proof");
}

#[test]
fn names_that_could_pass_for_others_are_refused() {
    for user in ["alice\0x", "CORP\\alice", "alice\nCS-0000", "\u{7f}"] {
        let client = Client { user: user.to_owned(), ..Client::honest() };
        let refused = refusal(&client, &Demands::default());
        assert_eq!(code_of(refused), code::NTLM_MESSAGE_MALFORMED.number(), "{user:?}");
    }
}

#[test]
fn a_message_of_another_type_or_of_another_protocol_is_told_by_its_code() {
    let refused = refusal_of(|message| message[8] = 1);
    assert_eq!(code_of(refused), code::TOKEN_UNEXPECTED.number());
    let refused = refusal_of(|message| message[0] = 0x60);
    assert_eq!(code_of(refused), code::TOKEN_UNRECOGNISED.number());
    assert_eq!(code_of(challenged(&[]).err()), code::TOKEN_UNRECOGNISED.number());
}

#[test]
fn a_session_key_of_another_length_is_refused() {
    let refused = refusal_of(|message| message[52] = 15);
    let Some(NtlmError::Layout { fault, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(fault, LayoutError::Length { field: "session key", length: 15 });
}
