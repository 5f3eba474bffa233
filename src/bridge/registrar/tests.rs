mod node;
mod redis;
mod rules;
mod simulation;
