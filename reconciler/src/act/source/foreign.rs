//! Text that another program wrote. Pure.

use schema::codes::TreeCode;
use schema::diagnostic::Diagnostic;

use super::directory::not_utf8;
use super::upload::without_bom;

/// The text of bytes in UTF-8 or in UTF-16, which is what PowerShell writes with `>`: it has its mark, or begins with an
/// ASCII letter of two bytes, one of which no text has in UTF-8.
/// A mark is taken off. The error says where the text ends to be one.
pub fn text(label: &str, bytes: Vec<u8>) -> Result<String, Box<Diagnostic>> {
    let (read, mark): (fn([u8; 2]) -> u16, usize) = match bytes.as_slice() {
        [0xff, 0xfe, ..] => (u16::from_le_bytes, 2),
        [0xfe, 0xff, ..] => (u16::from_be_bytes, 2),
        [1..=0x7f, 0, ..] => (u16::from_le_bytes, 0),
        [0, 1..=0x7f, ..] => (u16::from_be_bytes, 0),
        _ => {
            let text = String::from_utf8(bytes).map_err(|error| Box::new(not_utf8(label, &error)))?;
            return Ok(without_bom(&text).to_owned());
        }
    };
    let (pairs, rest) = bytes[mark..].as_chunks::<2>();
    let text: Result<String, _> = char::decode_utf16(pairs.iter().map(|pair| read(*pair))).collect();
    text.ok().filter(|_| rest.is_empty()).ok_or_else(|| {
        let message = "the file starts as UTF-16 does but is not valid UTF-16";
        Box::new(Diagnostic::without_place(TreeCode::NotUtf8, label, message).help("save it as UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_off_and_both_orders_of_utf16_are_read() {
        let little: Vec<u8> = "\u{feff}{\"ö\": \"🦀\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}{\"ö\": \"🦀\"}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let unmarked = [little[2..].to_vec(), big[2..].to_vec()];
        for bytes in unmarked.into_iter().chain([
            little.clone(),
            big,
            "\u{feff}{\"ö\": \"🦀\"}".into(),
            "{\"ö\": \"🦀\"}".into(),
        ]) {
            assert_eq!(text("f", bytes).ok().as_deref(), Some("{\"ö\": \"🦀\"}"));
        }
        assert!(text("f", little[..little.len() - 1].to_vec()).is_err());
    }

    #[test]
    fn what_is_neither_says_where() {
        let found = text("f", b"a = 1\nb = \"\xe4\"\n".to_vec()).expect_err("Latin-1");
        assert!(found.message.contains("0xe4") && found.message.contains("line 2"), "{}", found.message);
    }
}
