Rails.application.routes.draw do
  root "orders#index"
  resources :orders, only: :create
  resource :session, only: %i[new create destroy]
  get "api/v1/is_user_auth", to: "tokens#show"
end
