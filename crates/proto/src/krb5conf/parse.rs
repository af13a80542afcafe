//! The lines of one file. Each included file begins anew, and shares the tree.

use super::error::{SyntaxFault, beginning};
use super::profile::{Place, Profile};

/// Most subsections within each other.
pub const MAX_NESTING: usize = 32;

/// What C calls white space.
pub(super) fn is_space(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\x0b'
}

/// A line, before anything else is known of it.
#[derive(Clone, Copy)]
pub(super) enum Line<'a> {
    /// `include PATH`
    Include(&'a [u8]),
    /// `includedir PATH`
    IncludeDir(&'a [u8]),
    /// Any other.
    Other(&'a [u8]),
}

impl<'a> Line<'a> {
    /// An include holds at the beginning of a line, in any state of the file. After blanks, where MIT does not look for one and
    /// Heimdal does, it needs a path, so as not to take text or a relation for one.
    pub(super) fn of(line: &'a [u8]) -> Self {
        let text = skip_blanks(line);
        let after = |word: &[u8]| {
            let rest = text.strip_prefix(word)?;
            let path = skip_blanks(rest);
            let separate = rest.len() > path.len() || rest.is_empty();
            (separate && (text.len() == line.len() || path.starts_with(b"/"))).then_some(path)
        };
        if let Some(path) = after(b"include") {
            Self::Include(path)
        } else if let Some(path) = after(b"includedir") {
            Self::IncludeDir(path)
        } else {
            Self::Other(line)
        }
    }
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_space(char::from(**byte))).count();
    text.get(blanks..).unwrap_or_default()
}

/// Where in a file its reader is.
#[derive(Default)]
pub(super) struct FileParser {
    /// The open section and the subsections in it; empty before the first section.
    path: Vec<String>,
    /// How long `path` was when a section was entered that is final: what is in there is dropped.
    dropped_from: Option<usize>,
    /// `name =` stood on the line before: the next one must open the subsection.
    awaits_brace: bool,
    /// Text before the first section was noted.
    noted_preamble: bool,
}

impl FileParser {
    /// Reads a line that is no include.
    pub(super) fn line(
        &mut self,
        profile: &mut Profile,
        line: &[u8],
        place: &Place,
    ) -> Result<(), SyntaxFault> {
        let text = skip_blanks(line);
        if self.awaits_brace {
            return self.opening_brace(profile, text, place);
        }
        match text.first() {
            None | Some(b'#' | b';') => return Ok(()),
            Some(b'[') => {}
            Some(_) if self.path.is_empty() => return self.preamble(profile, line, place),
            Some(_) => {}
        }
        let text = str::from_utf8(text).map_err(|_| SyntaxFault::NotUtf8)?.trim_end_matches('\r');
        if text.contains('\0') {
            return Err(SyntaxFault::Nul);
        }
        match (text.strip_prefix('['), text.strip_prefix('}')) {
            (Some(header), _) => self.section(profile, header, place),
            (None, Some(rest)) => self.closing_brace(profile, rest, place),
            (None, None) => self.relation(profile, text, place),
        }
    }

    /// At the end of the file: MIT's library forgives what is open.
    pub(super) fn end(&self, profile: &mut Profile, place: &Place) {
        if let [_, .., open] = self.path.as_slice() {
            profile.note(place, format!("the file ends before the }} of {}", beginning(open)));
        }
    }

    /// Before the first section anything may stand, and means nothing.
    fn preamble(&mut self, profile: &mut Profile, line: &[u8], place: &Place) -> Result<(), SyntaxFault> {
        if line
            .strip_prefix(b"module")
            .and_then(<[u8]>::first)
            .is_some_and(|next| is_space(char::from(*next)))
        {
            return Err(SyntaxFault::Module);
        }
        if !self.noted_preamble {
            self.noted_preamble = true;
            profile.note(place, "text before the first section has no effect");
        }
        Ok(())
    }

    /// `name]` or `name]*`
    fn section(&mut self, profile: &mut Profile, header: &str, place: &Place) -> Result<(), SyntaxFault> {
        if let [_, .., open] = self.path.as_slice() {
            return Err(SyntaxFault::SectionInSubsection(beginning(open)));
        }
        let (name, rest) = header.split_once(']').ok_or(SyntaxFault::SectionUnclosed)?;
        let (rest, is_final) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
        if !rest.trim_matches(is_space).is_empty() {
            return Err(SyntaxFault::TextAfterSection);
        }
        self.path = vec![name.to_owned()];
        self.dropped_from = None;
        self.entered(profile, is_final, place);
        Ok(())
    }

    /// What was final before it was entered now takes nothing more.
    fn entered(&mut self, profile: &mut Profile, is_final: bool, place: &Place) {
        let section = profile.enter(&self.path, place);
        if section.is_final() {
            self.dropped_from = Some(self.path.len());
        } else if is_final {
            section.make_final();
        }
    }

    /// `}` or `}*`
    fn closing_brace(&mut self, profile: &mut Profile, rest: &str, place: &Place) -> Result<(), SyntaxFault> {
        if self.path.len() < 2 {
            return Err(SyntaxFault::BraceUnopened);
        }
        let (rest, is_final) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
        note_ignored(profile, rest, "after a }", place);
        if is_final && self.dropped_from.is_none() {
            profile.enter(&self.path, place).make_final();
        }
        self.path.pop();
        self.dropped_from = self.dropped_from.filter(|from| *from <= self.path.len());
        Ok(())
    }

    /// `{` on the line after `name =`
    fn opening_brace(
        &mut self,
        profile: &mut Profile,
        text: &[u8],
        place: &Place,
    ) -> Result<(), SyntaxFault> {
        let Some(rest) = text.strip_prefix(b"{") else {
            return Err(SyntaxFault::BraceMissing(
                self.path.last().map(|name| beginning(name)).unwrap_or_default(),
            ));
        };
        note_ignored(profile, &String::from_utf8_lossy(rest), "after a {", place);
        self.awaits_brace = false;
        Ok(())
    }

    /// `name = value`, `name = {` or `name =`; a star in the name marks it as final.
    fn relation(&mut self, profile: &mut Profile, text: &str, place: &Place) -> Result<(), SyntaxFault> {
        let (tag, value) = text.split_once('=').ok_or(SyntaxFault::NoEquals)?;
        if tag.is_empty() {
            return Err(SyntaxFault::NoName);
        }
        let tag = tag.trim_end_matches(is_space);
        if tag.contains(is_space) {
            return Err(SyntaxFault::SpaceInName(beginning(tag)));
        }
        let (name, is_final) = match tag.split_once('*') {
            Some((name, rest)) => {
                if name.is_empty() || !rest.is_empty() {
                    profile.note(
                        place,
                        format!("{tag} is read as {name:?}: a * ends a name and marks it as final"),
                    );
                }
                (name, true)
            }
            None => (tag, false),
        };
        let value = value.trim_start_matches(is_space);
        if value.is_empty()
            || value.strip_prefix('{').is_some_and(|rest| rest.trim_matches(is_space).is_empty())
        {
            self.awaits_brace = value.is_empty();
            return self.subsection(profile, name, is_final, place);
        }
        let value = unquoted(profile, value, place);
        if self.dropped_from.is_none() {
            profile.enter(&self.path, place).add(name, value, is_final, place);
        }
        Ok(())
    }

    fn subsection(
        &mut self,
        profile: &mut Profile,
        name: &str,
        is_final: bool,
        place: &Place,
    ) -> Result<(), SyntaxFault> {
        if self.path.len() > MAX_NESTING {
            return Err(SyntaxFault::Nesting);
        }
        self.path.push(name.to_owned());
        if self.dropped_from.is_none() {
            self.entered(profile, is_final, place);
        }
        Ok(())
    }
}

/// A value without what surrounds it. Notes tell what MIT's library drops without a word.
fn unquoted(profile: &mut Profile, value: &str, place: &Place) -> String {
    let Some(quoted) = value.strip_prefix('"') else {
        if value.starts_with('{') {
            profile.note(place, "a value that begins with {: a subsection's { must end its line");
        }
        return value.trim_end_matches(is_space).to_owned();
    };
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next() {
            Some('"') => break note_ignored(profile, characters.as_str(), "after a closing quote", place),
            None => break profile.note(place, "a quote is not closed: the value ends with the line"),
            Some('\\') => text.push(match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('b') => '\x08',
                other => other.unwrap_or('\\'),
            }),
            Some(other) => text.push(other),
        }
    }
    text
}

fn note_ignored(profile: &mut Profile, rest: &str, after: &str, place: &Place) {
    let rest = rest.trim_matches(is_space);
    if !rest.is_empty() && !rest.starts_with(['#', ';']) {
        profile.note(place, format!("text {after} has no effect"));
    }
}
