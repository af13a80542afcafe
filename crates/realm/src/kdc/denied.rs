//! What is answered instead of a ticket: a KRB-ERROR (RFC 4120 section 5.9.1), in armor if the request was
//! (RFC 6113 section 5.4.4). It has no e-text.

use super::Call;
use super::armor::Asked;
use crate::record::{Outcome, Reason};
use countersign_proto::der::Writer;
use countersign_proto::error::Refusal;
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::krb_error::NewKrbError;
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData, pa_type};
use countersign_proto::krb5::msg::principal::Principal;

/// One element of padata to be sent.
pub(super) struct Hint {
    pub(super) padata_type: i32,
    pub(super) value: Vec<u8>,
}

impl Hint {
    pub(super) fn new(padata_type: i32, value: Vec<u8>) -> Self {
        Self { padata_type, value }
    }

    pub(super) fn padata(&self) -> PaData<'_> {
        PaData { padata_type: self.padata_type, padata_value: &self.value }
    }
}

/// No ticket.
pub(super) struct Denied {
    pub(super) code: i32,
    pub(super) outcome: Outcome,
    /// What the client is to do next, or may do.
    pub(super) hints: Vec<Hint>,
    /// What is told of the client instead of the name in the request.
    pub(super) client: ToldClient,
    /// What the store could not do.
    pub(super) trouble: Option<Refusal>,
}

/// The client in a KRB-ERROR.
pub(super) enum ToldClient {
    /// As in the request.
    Asked,
    /// As in the request, but in the realm that is ours: there it is to ask (RFC 6806 section 7).
    InOurRealm,
    /// None: whoever it is, we know no realm for it.
    Nobody,
}

impl Denied {
    pub(super) fn new(code: i32, reason: Reason) -> Self {
        Self {
            code,
            outcome: Outcome::Refused(reason),
            hints: Vec::new(),
            client: ToldClient::Asked,
            trouble: None,
        }
    }

    /// The client is told how to go on.
    pub(super) fn continued(code: i32, hints: Vec<Hint>) -> Self {
        Self { code, outcome: Outcome::Continued, hints, client: ToldClient::Asked, trouble: None }
    }

    pub(super) fn malformed() -> Self {
        Self::new(krb::KRB_ERR_GENERIC, Reason::Malformed)
    }

    pub(super) fn out_of_order() -> Self {
        Self::new(krb::KDC_ERR_SVC_UNAVAILABLE, Reason::Store)
    }

    pub(super) fn with_hints(self, hints: Vec<Hint>) -> Self {
        Self { hints, ..self }
    }

    pub(super) fn telling(self, client: ToldClient) -> Self {
        Self { client, ..self }
    }

    /// Writes the KRB-ERROR, and the record of it.
    pub(super) fn answer(self, call: &mut Call<'_>, asked: &Asked<'_>) -> Vec<u8> {
        call.record.outcome = self.outcome;
        call.record.krb_error = Some(self.code);
        if self.trouble.is_some() {
            call.record.trouble = self.trouble.clone();
        }
        let Some(armor) = asked.armor else {
            let e_data = (!self.hints.is_empty()).then(|| method_data(self.hints.iter()));
            return self.error(call, asked, self.client(call, asked).as_ref(), e_data.as_deref());
        };
        let inner = self.error(call, asked, self.client(call, asked).as_ref(), None);
        let inner = Hint::new(pa_type::PA_FX_ERROR, inner);
        let padata: Vec<_> = std::iter::once(&inner).chain(&self.hints).map(Hint::padata).collect();
        let wrapped = Hint::new(pa_type::PA_FX_FAST, armor.seal(&padata, asked.body.nonce, None, call.rng));
        let outer_client = armor.outer_client(self.client(call, asked));
        self.error(call, asked, outer_client.as_ref(), Some(&method_data([&wrapped].into_iter())))
    }

    fn error(
        &self,
        call: &Call<'_>,
        asked: &Asked<'_>,
        client: Option<&Principal>,
        e_data: Option<&[u8]>,
    ) -> Vec<u8> {
        let service = match asked.body.sname {
            Some(sname) => sname.to_principal(asked.body.realm),
            None => call.granting_service(),
        };
        let error = NewKrbError { stime: call.now, error_code: self.code, client, service: &service, e_data };
        let mut out = Vec::new();
        error.write(&mut Writer::new(&mut out));
        out
    }

    fn client(&self, call: &Call<'_>, asked: &Asked<'_>) -> Option<Principal> {
        let realm = match self.client {
            ToldClient::Asked => asked.body.realm,
            ToldClient::InOurRealm => call.realm(),
            ToldClient::Nobody => return None,
        };
        asked.body.cname.map(|cname| cname.to_principal(realm))
    }
}

fn method_data<'h>(hints: impl Iterator<Item = &'h Hint>) -> Vec<u8> {
    let padata: Vec<_> = hints.map(Hint::padata).collect();
    let mut out = Vec::new();
    MethodData::write_list(&mut Writer::new(&mut out), &padata);
    out
}
