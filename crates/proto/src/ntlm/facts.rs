use super::NegotiateFlags;
use super::accounts::Identity;
use crate::krb5::facts::BindingsState;

/// What a context made by NTLM knows. There are no etypes: messages are protected with RC4 and HMAC-MD5.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The client: for an acceptor what the account source knows it as, for an initiator itself.
    pub client: Identity,
    /// Name of the client's machine, which the client chose and an account source may use, nobody proves. Empty if none.
    pub workstation: String,
    /// The service that the client meant to reach, as an SPN, if it said so. The client's proof covers it.
    pub target_name: Option<String>,
    /// What both agreed on.
    pub flags: NegotiateFlags,
    /// Always false: NTLM proves the client to the service and nothing to the client.
    pub mutual: bool,
    /// What became of the channel bindings.
    pub bindings: BindingsState,
}
