//! DER as a tree, for tests that take a message apart, change a piece of it and put it together again.

/// An element. What is inside a constructed one is elements again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tlv {
    pub(crate) tag: u8,
    pub(crate) body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    Primitive(Vec<u8>),
    Constructed(Vec<Tlv>),
}

const CONSTRUCTED: u8 = 0x20;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const GENERAL_STRING: u8 = 0x1b;
const SEQUENCE: u8 = 0x30;

impl Tlv {
    /// The element that `bytes` are, if they are one and nothing else. Tags are of one byte, as all of Kerberos'.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (element, rest) = Self::parse_first(bytes)?;
        rest.is_empty().then_some(element)
    }

    pub(crate) fn constructed(tag: u8, children: Vec<Self>) -> Self {
        Self { tag, body: Body::Constructed(children) }
    }

    pub(crate) fn primitive(tag: u8, bytes: &[u8]) -> Self {
        Self { tag, body: Body::Primitive(bytes.to_vec()) }
    }

    pub(crate) fn sequence(children: Vec<Self>) -> Self {
        Self::constructed(SEQUENCE, children)
    }

    /// `[number]` around `element`.
    pub(crate) fn field(number: u8, element: Self) -> Self {
        Self::constructed(0xa0 | number, vec![element])
    }

    pub(crate) fn octet_string(bytes: &[u8]) -> Self {
        Self::primitive(OCTET_STRING, bytes)
    }

    pub(crate) fn general_string(text: &str) -> Self {
        Self::primitive(GENERAL_STRING, text.as_bytes())
    }

    /// An INTEGER in as few bytes as DER wants.
    pub(crate) fn integer(value: i32) -> Self {
        let bytes = value.to_be_bytes();
        let redundant =
            bytes.windows(2).take_while(|pair| matches!((pair[0], pair[1] & 0x80), (0, 0) | (0xff, 0x80)));
        Self::primitive(INTEGER, &bytes[redundant.count()..])
    }

    pub(crate) fn children(&self) -> &[Self] {
        match &self.body {
            Body::Constructed(children) => children,
            Body::Primitive(_) => &[],
        }
    }

    pub(crate) fn children_mut(&mut self) -> Option<&mut Vec<Self>> {
        match &mut self.body {
            Body::Constructed(children) => Some(children),
            Body::Primitive(_) => None,
        }
    }

    /// The element inside the child `[number]`.
    pub(crate) fn get(&self, number: u8) -> Option<&Self> {
        self.children().iter().find(|child| child.tag == 0xa0 | number)?.children().first()
    }

    /// Puts `element` into the child `[number]`, which is made if it is not there; children stand in order of their
    /// numbers. Without an element the child goes.
    pub(crate) fn set(&mut self, number: u8, element: Option<Self>) {
        let tag = 0xa0 | number;
        let children = self.children_mut().expect("only what is constructed has children");
        children.retain(|child| child.tag != tag);
        if let Some(element) = element {
            let place = children.iter().take_while(|child| child.tag < tag).count();
            children.insert(place, Self::field(number, element));
        }
    }

    /// The bytes of a primitive element.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Primitive(bytes) => Some(bytes),
            Body::Constructed(_) => None,
        }
    }

    /// The value of an INTEGER of up to four bytes.
    pub(crate) fn as_integer(&self) -> Option<i32> {
        let bytes = self.bytes().filter(|bytes| self.tag == INTEGER && (1..=4).contains(&bytes.len()))?;
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Some(bytes.iter().fold(sign, |value: i32, byte| (value << 8) | i32::from(*byte)))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let content = match &self.body {
            Body::Primitive(bytes) => bytes.clone(),
            Body::Constructed(children) => children.iter().flat_map(Self::encode).collect(),
        };
        [&[self.tag][..], &length(content.len()), &content].concat()
    }

    fn parse_first(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (length, rest) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(l, _)| l.len() <= 4)?;
            (length.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let body = if tag & CONSTRUCTED == 0 {
            Body::Primitive(content.to_vec())
        } else {
            Body::Constructed(Self::parse_all(content)?)
        };
        Some((Self { tag, body }, rest))
    }

    fn parse_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut elements = Vec::new();
        while !bytes.is_empty() {
            let (element, rest) = Self::parse_first(bytes)?;
            elements.push(element);
            bytes = rest;
        }
        Some(elements)
    }
}

fn length(length: usize) -> Vec<u8> {
    if length < 0x80 {
        return vec![length as u8];
    }
    let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&[0x80 | bytes.len() as u8][..], &bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::Tlv;

    #[test]
    fn integers_take_as_few_bytes_as_der_wants_and_come_back() {
        for (value, bytes) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (-1, &[2, 1, 255]),
            (-129, &[2, 2, 255, 127]),
            (i32::MIN, &[2, 4, 128, 0, 0, 0]),
        ] {
            assert_eq!(Tlv::integer(value).encode(), bytes);
            assert_eq!(Tlv::parse(bytes).unwrap().as_integer(), Some(value));
        }
    }

    #[test]
    fn a_long_tree_comes_back_as_it_was() {
        let tree =
            Tlv::sequence(vec![Tlv::field(1, Tlv::octet_string(&[7; 300])), Tlv::field(3, Tlv::integer(5))]);
        let bytes = tree.encode();
        assert_eq!(Tlv::parse(&bytes), Some(tree.clone()));
        assert_eq!(Tlv::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Tlv::parse(&[&bytes[..], &[0]].concat()), None);

        let mut changed = tree;
        changed.set(2, Some(Tlv::integer(9)));
        changed.set(1, None);
        assert_eq!(changed.get(2).unwrap().as_integer(), Some(9));
        assert_eq!(changed.children().iter().map(|child| child.tag).collect::<Vec<_>>(), [0xa2, 0xa3]);
    }
}
