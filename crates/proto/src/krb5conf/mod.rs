//! krb5.conf: where the KDCs of a realm are, and how tickets are asked for.
//!
//! Two storeys. [`Profile`] is the syntax: sections, relations, includes and final marks, as MIT's profile library reads them
//! (release 1.22, whose final marks hold within one file too). [`Krb5Conf`] is what the relations mean to an initiator, each
//! value with its type. Files and folders come through a [`Loader`] that the caller gives, so that nothing is opened here.
//!
//! What is wrong is an error that names file and line. What is right and yet without effect (a key that nobody knows, an etype
//! that is not implemented) is a [`Note`]: a program shows them once, and goes on.

mod address;
mod conf;
mod domains;
mod enctypes;
mod error;
mod fields;
mod known;
mod load;
mod parse;
mod profile;
mod read;
mod tokens;
mod values;

pub use address::{AddressFault, KdcAddress, Transport};
pub use conf::{
    Builder, DEFAULT_UDP_PREFERENCE_LIMIT, DnsCanonicalize, Krb5Conf, LibDefaults, RealmConf, TicketDefaults,
};
pub use error::{Krb5ConfError, SyntaxFault};
pub use load::{LoadError, Loader, MAX_FILES, MAX_INCLUDE_DEPTH, MAX_TOTAL_BYTES};
pub use parse::MAX_NESTING;
pub use profile::{Note, Place, Profile, Relation, Section};
pub use tokens::{PathName, PathTokens, expand_tokens};
pub use values::duration;
