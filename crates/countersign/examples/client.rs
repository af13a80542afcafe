//! A client that knows its service: says one thing and prints the answer.

use countersign::{Client, blocking::Connector};
use std::io::{Read, Write};
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(service)) = (arguments.next(), arguments.next()) else {
        return Err("usage: client HOST:PORT CLASS/HOST@REALM".into());
    };
    let cache = env::var("KRB5CCNAME").map_err(|_| "KRB5CCNAME names no credential cache")?;
    let client = Client::from_ccache(cache, &service)?;
    let mut stream = Connector::new(client).connect(address).map_err(|failure| failure.refusal)?;
    stream.write_all(b"hello")?;
    stream.finish()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("{service} says {answer}");
    Ok(())
}
