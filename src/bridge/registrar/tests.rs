mod node;
mod rules;
mod simulation;
