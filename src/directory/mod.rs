//! Who is connected to this node: user to devices to connection handles.
