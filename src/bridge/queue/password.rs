//! A password that has changed, for a client that runs: the part of librdkafka for it that its safe bindings do not have.
//!
//! Owns nothing. Connections that are there stay; the next one is made with the new password.
#![allow(unsafe_code)]

use rdkafka::{ClientContext, bindings as kafka, client::Client};
use std::ffi::{CStr, CString};

/// The name of the property that it is.
pub const PASSWORD: &str = "sasl.password";
/// The property without which there is no password: who it belongs to.
pub const USERNAME: &str = "sasl.username";

/// Gives a client its password.
///
/// # Errors
/// Why librdkafka does not take it; it is not in the text.
pub fn set<C: ClientContext>(client: &Client<C>, username: &str, password: &str) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|_| "it has a zero byte".to_owned());
    let (username, password) = (text(username)?, text(password)?);
    // SAFETY: the client is alive, and copies both texts, which end with a zero byte. The fault is ours, and is read before it is
    // given back; its text is a C string.
    unsafe {
        let fault =
            kafka::rd_kafka_sasl_set_credentials(client.native_ptr(), username.as_ptr(), password.as_ptr());
        if fault.is_null() {
            return Ok(());
        }
        let cause = CStr::from_ptr(kafka::rd_kafka_error_string(fault)).to_string_lossy().into_owned();
        kafka::rd_kafka_error_destroy(fault);
        Err(cause)
    }
}
