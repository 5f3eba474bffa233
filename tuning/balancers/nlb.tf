# A cloud's network balancer (AWS NLB) in front of a fleet, layer 4, PROXY protocol v2. Terraform, provider hashicorp/aws 5.70 or
# newer. What other clouds call these settings is in the README.
#
# The nodes need:   [clients] proxy_protocol = "require", proxy_from = [the subnets of the balancer]

variable "vpc_id" { type = string }
variable "subnet_ids" { type = list(string) }
# Address and client port of each node; a node with two ports is here twice.
variable "nodes" { type = set(object({ address = string, port = number })) }

resource "aws_lb" "push" {
  name               = "push"
  load_balancer_type = "network"
  subnets            = var.subnet_ids
  # Otherwise each zone's balancer knows its own zone's nodes only: zones of unequal size fill unequally, and a zone whose nodes
  # drain has nobody.
  enable_cross_zone_load_balancing = true
}

resource "aws_lb_listener" "push" {
  load_balancer_arn = aws_lb.push.arn
  port              = 7000
  protocol          = "TCP"
  # 60 to 6,000; 350 by default. Who is silent for longer is forgotten without a word, and his next byte is answered by a reset.
  # It must be longer than clients.ping_max (10 m). A TLS listener has 350 s and no such setting: with one, set
  # clients.ping_max = "5m" on the nodes. The nodes' own network interfaces may forget sooner (connection tracking of their
  # security groups): set that time-out to at least as much.
  tcp_idle_timeout_seconds = 900

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.nodes.arn
  }
}

resource "aws_lb_target_group" "nodes" {
  name        = "push-nodes"
  vpc_id      = var.vpc_id
  target_type = "ip"
  port        = 7001
  protocol    = "TCP"

  # The node learns the client's address from the header; the health checks have one, too.
  proxy_protocol_v2 = true
  # With the header, nodes see the balancer's addresses on the wire, and proxy_from can name them. The price: the balancer has
  # 55,000 connections from each of its addresses (one for each zone) to each target; a target is an address and port, so list
  # several ports of a node. Or the other way round: preserve_client_ip = true, no header, and nodes with proxy_protocol = "off";
  # then there is no such limit.
  preserve_client_ip = false

  # A node that was taken off the list keeps its connections so long: as long as a drain may take (drain.delay + window + grace).
  deregistration_delay   = 600
  connection_termination = false

  # True by default: every connection of a node would be cut at the first moment of its drain, or of a check that failed for
  # another reason. The node spreads them over drain.window.
  target_health_state {
    enable_unhealthy_connection_termination = false
    unhealthy_draining_interval             = 600
  }

  # Asked on the client port, which says 503 from the first moment of a drain. Noticed within 2 x 5 s, and the balancer's own parts
  # may take as long again to hear of it: set drain.delay = "30s".
  health_check {
    protocol            = "HTTP"
    path                = "/healthcheck"
    port                = "traffic-port"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_target_group_attachment" "nodes" {
  for_each         = { for node in var.nodes : "${node.address}:${node.port}" => node }
  target_group_arn = aws_lb_target_group.nodes.arn
  target_id        = each.value.address
  port             = each.value.port
}
