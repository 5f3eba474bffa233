use super::*;

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    let why = Agent::new("0123456789abcde", &[]).err().unwrap();
    assert!(why.contains("fewer than 16 characters"), "{why}");
    assert!(Agent::new("0123456789abcdef", &[]).is_ok());
}
