mod node;
mod redis;
mod simulation;
