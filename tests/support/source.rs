//! Just enough understanding of Rust to hold the architecture: comments and strings taken out, paths and
//! functions found.

/// A source file of which only the code is left: comments, strings and characters are blanks, lines
/// stay where they were.
pub(crate) struct Source {
    code: String,
}

impl Source {
    pub(crate) fn new(text: &str) -> Source {
        Source { code: blank(text) }
    }

    pub(crate) fn lines(&self) -> usize {
        self.code.lines().count()
    }

    /// Whether `word` stands in the code as a word of its own.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        words(&self.code).any(|(at, found)| found == word && !is_path_part(&self.code, at))
    }

    /// Whether a path starts with the crate `name`.
    pub(crate) fn uses_crate(&self, name: &str) -> bool {
        words(&self.code).any(|(at, found)| {
            let (before, after) = (self.code[..at].trim_end(), &self.code[at + found.len()..]);
            let leading = before.ends_with("::") && !ends_with_name(&before[..before.len() - 2]);
            let starts = leading || !before.ends_with("::");
            let path = after.trim_start().starts_with("::");
            let whole = before.ends_with("use") && !path;
            found == name && starts && (path || whole)
        })
    }

    /// The first names of all paths from the crate's root: `crate::a::b`, `crate::{a, b::c}`, and as many
    /// `super::` as lead there from a file `depth` modules below the root's children.
    pub(crate) fn rooms_used(&self, depth: usize) -> Vec<String> {
        let to_root = "super::".repeat(depth + 1);
        let mut found = Vec::new();
        let dense = self.dense();
        for root in ["crate::", to_root.as_str()] {
            for (at, _) in dense.match_indices(root) {
                let before = &dense[..at];
                if !ends_with_name(before) && !before.ends_with("super::") {
                    found.extend(first_names(&dense[at + root.len()..]));
                }
            }
        }
        found
    }

    /// Every function that has a body, with its number of lines from `fn` to the closing brace.
    pub(crate) fn functions(&self) -> Vec<(String, usize)> {
        let heads = words(&self.code).filter(|(_, word)| *word == "fn");
        heads.filter_map(|(at, _)| function_at(&self.code, at)).collect()
    }

    /// The code without items under `#[cfg(test)]`.
    pub(crate) fn without_tests(&self) -> String {
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let end = item_end(&code, start).unwrap_or(code.len());
            code.replace_range(start..end, "");
        }
        code
    }

    /// The code without blanks around `::`, `{` and `,`.
    fn dense(&self) -> String {
        let mut dense = String::new();
        for part in self.code.split_whitespace() {
            if ends_with_name(&dense) && part.starts_with(is_name) {
                dense.push(' ');
            }
            dense.push_str(part);
        }
        dense
    }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn ends_with_name(text: &str) -> bool {
    text.ends_with(is_name)
}

/// Whether the word at `at` is the inner part of a path.
fn is_path_part(code: &str, at: usize) -> bool {
    code[..at].ends_with("::")
}

/// All words with their positions.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = code.split(|letter| !is_name(letter)).filter(|word| !word.is_empty());
    parts.map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

/// The names that a path goes on with: one, or those of a group at its top level.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|letter| is_name(*letter)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut fresh, mut found) = (0, true, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            _ if fresh => {
                found.push(name(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

/// The name and length in lines of the function whose `fn` stands at `at`; `None` without a body.
fn function_at(code: &str, at: usize) -> Option<(String, usize)> {
    let name = words(&code[at + 2..]).next()?.1.to_owned();
    // The semicolon in the type of an array ends nothing.
    let mut brackets = 0;
    let opens = code[at..].find(|letter| {
        brackets += i32::from(letter == '[') - i32::from(letter == ']');
        letter == '{' || letter == ';' && brackets == 0
    })?;
    if code[at + opens..].starts_with(';') {
        return None;
    }
    let end = block_end(code, at)?;
    Some((name, code[at..end].lines().count()))
}

/// Where the item that starts at `at` ends: after its block, or after a semicolon that comes first.
fn item_end(code: &str, at: usize) -> Option<usize> {
    let first = at + code[at..].find(['{', ';'])?;
    if code[first..].starts_with(';') { Some(first + 1) } else { block_end(code, at) }
}

/// The position after the brace that closes the first block after `at`.
fn block_end(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    for (offset, letter) in code[at..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + offset + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Comments, strings and characters become blanks; newlines stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let taken = foreign_len(rest, &code);
        let (piece, after) = rest.split_at(taken.unwrap_or(letter.len_utf8()));
        match taken {
            Some(_) => code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => code.push_str(piece),
        }
        rest = after;
    }
    code
}

/// How many bytes of comment, string or character `rest` starts with.
fn foreign_len(rest: &str, before: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(comment_len(rest));
    }
    if !ends_with_name(before) {
        let raw = rest.strip_prefix('b').unwrap_or(rest);
        if let Some(hashes) =
            raw.strip_prefix('r').map(|r| r.len() - r.trim_start_matches('#').len())
        {
            let open = rest.len() - raw.len() + 1 + hashes;
            if rest[open..].starts_with('"') {
                let close = format!("\"{}", "#".repeat(hashes));
                let body = &rest[open + 1..];
                return Some(
                    open + 1 + body.find(&close).map_or(body.len(), |at| at + close.len()),
                );
            }
        }
    }
    match rest.as_bytes()[0] {
        b'"' => Some(quoted_len(rest, '"')),
        b'\'' if is_character(rest) => Some(quoted_len(rest, '\'')),
        _ => None,
    }
}

/// Whether a single quote opens a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut letters = rest[1..].chars();
    letters.next() == Some('\\') || letters.next() == Some('\'')
}

/// The length of a string or character with its quotes.
fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a block comment, which may hold others.
fn comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = &rest.as_bytes()[at..];
        if step.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if step.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}
