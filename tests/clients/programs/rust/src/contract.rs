//! What an application has, for the programs beside it: they are run as
//! `PROGRAM URL TOKEN_FILE LAST_ID`, and say what they hear in lines of JSON.

use std::io::Write;

/// Return where the stream is, and where to begin: after this event, or "".
pub fn arguments() -> (String, String) {
    let mut words = std::env::args().skip(1);
    let url = words.next().expect("a URL");
    (url, words.nth(1).expect("a last id"))
}

/// Return a token that is valid now.
pub fn get_token() -> String {
    let file = std::env::args().nth(2).expect("a file");
    std::fs::read_to_string(file).expect("a token").trim().to_string()
}

/// Show an event.
pub fn show(kind: &str, data: &str) {
    say(serde_json::json!({"type": kind, "data": data}));
}

/// The token is refused for good.
pub fn sign_in() {
    say(serde_json::json!({"refused": true}));
}

fn say(line: serde_json::Value) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("somebody who listens");
}
