//! An open WebSocket's frames from the client.

use super::{Connection, Context, Step, Tools, flag};
use crate::{
    model::Reason,
    proto::{
        deflate::Deflater,
        ws::{self, Decoder, Incoming, Violation},
    },
};
use std::ops::ControlFlow;

/// What a stretch of frames asked for.
struct Reader<'a> {
    out: &'a mut Vec<u8>,
    connection: Connection,
    deflater: &'a mut Deflater,
    deflate_min_bytes: usize,
    echo: bool,
    echo_all: bool,
    closed: Option<Option<u16>>,
}

impl Connection {
    pub(super) fn handle_websocket_bytes(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> Step {
        let Tools { settings, lents, inflater, deflater, out, stats, .. } = &mut *context.tools;
        let mut partial = lents.get_mut(self.lent).and_then(|lent| lent.partial.take());
        let deflates = self.is(flag::DEFLATE);
        let mut reader = Reader {
            out,
            connection: *self,
            deflater,
            deflate_min_bytes: settings.deflate_min_bytes,
            echo: settings.echo,
            echo_all: settings.echo_all,
            closed: None,
        };
        let mut decoder =
            Decoder { message_max: settings.message_bytes, deflate: deflates.then_some(inflater), frames: 0 };
        let outcome = decoder.feed(&mut partial, input, &mut |incoming| reader.read(incoming));
        let closed = reader.closed;
        stats.frames_in(u64::from(decoder.frames));
        let frames = decoder.frames;
        self.seen(context, frames);
        if let Err(violation) = outcome {
            return self.fail(context, violation);
        }
        if let Some(code) = closed {
            return self.answer_close(context, code);
        }
        match partial {
            Some(_) => self.lent(context.tools, context.handle).partial = partial,
            None => self.give_back(context.tools),
        }
        self.check_inbound_rate(context)
    }

    /// Ends a connection that sends more frames than `limits.inbound_rate` in one second.
    pub(super) fn check_inbound_rate(&mut self, context: &mut Context<'_>) -> Step {
        let rate = context.tools.settings.inbound_rate;
        if rate == 0 || u32::from(self.frames) <= rate {
            return Step::Stay;
        }
        self.close(context, Reason::InboundRate)
    }

    /// Reads on while closing, for the peer's close frame. Says whether it came; what cannot be understood, as after a
    /// violation, is dropped.
    pub(super) fn reads_close(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> bool {
        let Tools { settings, lents, inflater, .. } = &mut *context.tools;
        let mut partial = lents.get_mut(self.lent).and_then(|lent| lent.partial.take());
        let deflate = self.is(flag::DEFLATE).then_some(inflater);
        let mut decoder = Decoder { message_max: settings.message_bytes, deflate, frames: 0 };
        let mut closed = false;
        let outcome = decoder.feed(&mut partial, input, &mut |incoming| match incoming {
            Incoming::Close(..) => {
                closed = true;
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        if partial.is_some() {
            self.lent(context.tools, context.handle).partial = partial;
        }
        self.set(flag::UNREADABLE, outcome.is_err());
        closed
    }

    pub(super) fn fail(&mut self, context: &mut Context<'_>, violation: Violation) -> Step {
        let reason = match violation {
            Violation::Protocol(_) => Reason::ProtocolError,
            Violation::InvalidPayload(_) => Reason::InvalidPayload,
            Violation::TooBig => Reason::MessageTooBig,
        };
        debug_assert!(self.takes_messages() || self.phase.is_nameless());
        self.set(flag::UNREADABLE, true);
        self.close_with(context, reason, violation.close_code(), violation.reason())
    }
}

impl Reader<'_> {
    fn read(&mut self, incoming: Incoming<'_>) -> ControlFlow<()> {
        match incoming {
            Incoming::Text(text) if self.echo_all || self.echo && text.starts_with("ECHO ") => {
                self.answer(ws::Op::Text, text.as_bytes());
            }
            Incoming::Binary(bytes) if self.echo_all => self.answer(ws::Op::Binary, bytes),
            Incoming::Ping(payload) => ws::write_frame(self.out, ws::Op::Pong, payload, false),
            Incoming::Close(code, _) => {
                self.closed = Some(code);
                return ControlFlow::Break(());
            }
            // Zuul's wire: what a client sends is ignored, and any frame shows that it lives.
            Incoming::Text(_) | Incoming::Binary(_) | Incoming::Pong(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn answer(&mut self, op: ws::Op, payload: &[u8]) {
        if !self.connection.compresses(payload.len(), self.deflate_min_bytes) {
            return ws::write_frame(self.out, op, payload, false);
        }
        let mut compressed = Vec::new();
        self.deflater.compress(payload, &mut compressed);
        ws::write_frame(self.out, op, &compressed, true);
    }
}
