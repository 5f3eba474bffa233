//! The keys and the columns, over the screen.

use super::{
    Column,
    draw::{bold, dim},
    figures::shorten,
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

const KEYS: [(&str, &str); 8] = [
    ("q, Ctrl-C", "quit"),
    ("↑ ↓ PgUp PgDn", "select a node; also j k Home End"),
    ("Enter, d", "the selected node in detail, or not"),
    ("s, S", "sort by the next column, the one before"),
    ("r", "sort the other way"),
    ("/", "filter by name, region, address or state"),
    ("Esc", "drop the filter"),
    ("p, blank", "pause, go on"),
];
/// Width of what stands before each line.
const LABEL: usize = 15;
const WIDTH: u16 = 64;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect) {
    let room = area.width.min(WIDTH).saturating_sub(4).into();
    let entry = |label: &str, about: &str| {
        let about = shorten(about, usize::saturating_sub(room, LABEL));
        Line::from(vec![Span::styled(format!("{label:LABEL$}"), bold()), Span::raw(about)])
    };
    let mut lines: Vec<Line<'_>> = KEYS.iter().map(|(keys, about)| entry(keys, about)).collect();
    // Frame, keys, and the columns where all of them fit.
    if usize::from(area.height) >= KEYS.len() + Column::ALL.len() + 2 {
        lines.extend(Column::ALL.map(|column| entry(column.title(), column.about())));
    }
    let height = (lines.len() as u16 + 2).min(area.height);
    let size = Rect::new(0, 0, area.width.min(WIDTH), height);
    let place = Rect {
        x: area.x + (area.width - size.width) / 2,
        y: area.y + (area.height - size.height) / 2,
        ..size
    };
    let block = Block::bordered().title(" Any key closes this ").title_style(bold()).border_style(dim());
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(lines).block(block.padding(ratatui::widgets::Padding::horizontal(1))),
        place,
    );
}
